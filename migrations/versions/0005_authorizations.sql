-- Authorizations under way: requests, codes and launches.
select 1;
