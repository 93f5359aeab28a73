-- Further indexes for searches.
select 1;
