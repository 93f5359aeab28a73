-- The whole current schema of the FHIR store. Migrations lead here; a test proves the two equal.
--
-- rid   internal key of a resource, never reused            rt    number of the resource type (definitions)
-- date  main clinical date, microseconds since 1970 UTC     key   64-bit index key (see fhirhub.search.rows)
--
-- The index tables, the bulk of the rows, are partitioned by resource type from the start: measurements, money,
-- clinical, everything else. Resources are not: their rows are looked up by rid from everywhere, without the type.

create table store (
    name text primary key,
    value text not null
);
comment on table store is 'Facts of this store: the secret that keys its hashes and seals its cursors.';

create sequence rid_block;
comment on sequence rid_block is 'Each value hands 1,024 rids to one writer: block * 1024 + 0..1023.';

create table resource (
    rid bigint not null,
    updated bigint not null,
    date bigint not null,
    version integer not null,
    rt smallint not null,
    method smallint not null,
    deleted boolean not null,
    digest bigint not null,
    id text collate "C" not null,
    params smallint[],
    keys bigint[],
    meta jsonb,
    content jsonb,
    primary key (rt, id)
);
comment on table resource is 'The current version of every resource; version 0 is a placeholder that is only referred to.';
comment on column resource.meta is 'meta without versionId and lastUpdated, which are columns.';
comment on column resource.content is 'The resource without resourceType, id and meta; null when deleted.';
comment on column resource.digest is 'Of its string, date and number rows: an update that leaves it leaves them.';
comment on column resource.keys is 'The keys of its token rows: what to delete on change, and what it refers to.';

create table history (
    rid bigint not null,
    updated bigint not null,
    version integer not null,
    rt smallint not null,
    method smallint not null,
    deleted boolean not null,
    meta jsonb,
    content jsonb,
    primary key (rid, version)
);
comment on table history is 'Superseded versions, append-only.';

create table token (
    key bigint not null,
    date bigint not null,
    rid bigint not null,
    rt smallint not null
) partition by list (rt);
comment on table token is 'Exact values and references, in order of the main clinical date.';

alter table token alter column key set statistics 2000;

create table coding (
    key bigint not null,
    coding bigint not null,
    primary key (key, coding)
);
comment on table coding is 'Which token keys stand for codings with a code (of any system) or of a system.';

create table phrase (
    id bigint primary key,
    pid smallint not null,
    text text collate "C" not null,
    raw text not null,
    key bigint not null
);
comment on table phrase is 'What token keys are called and which uris and units occur, each once (see fhirhub.search.rows).';

create index phrase_text on phrase (pid, text);

create table string (
    key bigint not null,
    rid bigint not null,
    rt smallint not null,
    text text collate "C" not null
) partition by list (rt);

create table date (
    key bigint not null,
    lo bigint not null,
    hi bigint not null,
    rid bigint not null,
    rt smallint not null
) partition by list (rt);
comment on column date.key is 'The two low bits class the span: up to a day, a month, a year, longer or open.';

create table number (
    key bigint not null,
    lo double precision not null,
    hi double precision not null,
    rid bigint not null,
    unit integer not null,
    label integer not null,
    rt smallint not null
) partition by list (rt);
comment on column number.unit is 'Hash of the coded unit; label that of the printed one where it differs; 0 for none.';
comment on column number.key is 'The low bit tells a range (1) from a point (0).';

create table words (
    rid bigint not null,
    rt smallint not null,
    narrative tsvector,
    content tsvector
) partition by list (rt);
comment on table words is 'Words for _text and _content of resources that have any (see fhirhub.search.words).';

create unique index resource_rid on resource (rid);
create index resource_date on resource (rt, date, rid) include (params) where not deleted;
create index resource_updated on resource (rt, updated, rid);
create index history_updated on history (rt, updated, rid);
create index token_key on token (key, date, rid);
create index string_key on string (key, text, rid);
create index string_rid on string (rid);
create index date_key on date (key, lo, rid, hi);
create index date_rid on date (rid);
create index number_key on number (key, unit, lo, rid, hi, label);
create index number_label on number (key, label, lo, rid, hi, unit) where label <> 0;
create index number_rid on number (rid);
create index words_rid on words (rid);
create index words_narrative on words using gin (narrative) with (fastupdate = off);
create index words_content on words using gin (content) with (fastupdate = off);

do $$
declare
    parent text;
begin
    foreach parent in array array['token', 'string', 'date', 'number', 'words'] loop
        execute format('create table %1$s_measurement partition of %1$s for values in (96)', parent);
        execute format('create table %1$s_financial partition of %1$s for values in '
            '(1,17,19,20,30,31,32,33,46,47,53,67,104,105)', parent);
        execute format('create table %1$s_clinical partition of %1$s for values in '
            '(4,14,15,21,23,24,28,34,38,39,40,42,44,48,54,55,56,61,62,63,64,74,75,76,77,79,80,95,'
            '110,111,113,120,124,126,138,139,140,146)', parent);
        execute format('create table %1$s_general partition of %1$s default', parent);
    end loop;
end
$$;
