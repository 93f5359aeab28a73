-- Search parameters of one's own, and jobs.
select 1;
