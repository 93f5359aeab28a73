-- The other layout of the experiment in bench/layout.py: keys of a resource as an array on its row, under GIN.
-- Strings, dates and numbers stand in the same tables in both, so only tokens and references are compared.
create schema other;

create table other.resource (like resource) partition by list (rt);
create table other.resource_measurement partition of other.resource for values in (96);
create table other.resource_general partition of other.resource default;
alter table other.resource add primary key (rt, id);
create index on other.resource (rid);
create index on other.resource (rt, date, rid) where not deleted;
create index on other.resource (rt, updated, rid);
create index other_keys on other.resource using gin (keys) with (fastupdate = off);

-- One template for each of the codes, with the rows that the server's own extractor makes of it.
create unlogged table bench_code (
    n integer primary key, keys bigint[], refs bigint[], params smallint[], body text, number_keys bigint[],
    number_unit integer, number_label integer, date_keys bigint[]
);

-- Observations before they are in either layout.
create unlogged table bench_stage (
    rid bigint, date bigint, patient bigint, code integer, value double precision
);
create sequence bench_rid start 1099511627776;
