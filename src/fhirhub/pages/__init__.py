"""What people see: sign-in, their apps and record, the staff's launch page, administration."""
