-- Accounts, sign-in sessions and what protects them.
select 1;
