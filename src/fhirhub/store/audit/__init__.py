"""The audit trail: kept in the database, chained so that nobody can change it unnoticed, shown as AuditEvents."""
