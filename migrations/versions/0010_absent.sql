-- What a resource has no value of (:missing), told by the index of its type: a million resources pass in a fifth of a
-- second, instead of each being looked up.

drop index resource_date;
create index resource_date on resource (rt, date, rid) include (params) where not deleted;
