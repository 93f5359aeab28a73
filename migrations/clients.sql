-- Clients, grants, tokens and signing keys.
select 1;
