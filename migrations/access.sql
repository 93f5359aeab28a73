-- What access decisions depend on.
select 1;
