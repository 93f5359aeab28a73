-- Search parameters of a store's own, and jobs. Times are microseconds since 1970 UTC.

create sequence parameter_pid as integer minvalue 8192 maxvalue 16382;
comment on sequence parameter_pid is 'Numbers below are HL7''s; the index keys have room for these, but for the last. None is used twice.';

create sequence parameter_generation as integer;
comment on sequence parameter_generation is 'Counts changes of table parameter; every process says which one it goes by.';

create table parameter (
    pid smallint primary key,
    generation integer not null,
    type text not null,
    code text not null,
    resource text not null,
    definition jsonb not null,
    state text not null check (state in ('building', 'ready', 'retired', 'gone')),
    done bigint not null default 0,
    total bigint not null default 0
);
comment on table parameter is 'Each row is a parameter on one type, made of an active SearchParameter resource.';
comment on column parameter.generation is 'When its state changed last: a process that goes by an older one does not know.';
comment on column parameter.resource is 'The id of the SearchParameter.';
comment on column parameter.state is 'building: indexed, not searched by; retired: its rows are being deleted; gone: they are.';
create unique index parameter_code on parameter (type, code) where state in ('building', 'ready');

create table parameter_change (
    rid bigint not null
);
comment on table parameter_change is 'SearchParameter resources that were written and have not been looked at since.';

create table indexed (
    type text primary key,
    digest text not null
);
comment on table indexed is 'What the definitions of a type''s parameters were when its index rows were made.';

create table job (
    id text primary key,
    kind text not null,
    state text not null check (state in ('waiting', 'running', 'done', 'failed', 'cancelled')),
    created bigint not null,
    finished bigint,
    heartbeat bigint not null default 0,
    owner text not null default '',
    holder text not null default '',
    payload jsonb not null default '{}',
    place jsonb,
    done bigint not null default 0,
    total bigint not null default 0,
    problem text,
    result bytea
);
comment on table job is 'What is done in the background. A running one whose heartbeat has stopped is taken up by others.';
comment on column job.holder is 'Who may ask for it: the digest that page links are bound to, too.';
comment on column job.place is 'How far it has come: where the next one to take it up goes on.';
comment on column job.result is 'What came of it: a resource as JSON.';
create index job_open on job (created) where state in ('waiting', 'running');
create index job_finished on job (finished) where finished is not null;

-- A SearchParameter (type number 123) is taken up whichever way it was written.
create function note_parameter() returns trigger language plpgsql as $$
begin
    insert into parameter_change (rid) values (new.rid);
    notify fhirhub_jobs;
    return null;
end
$$;
create trigger resource_parameter after insert or update on resource
    for each row when (new.rt = 123) execute function note_parameter();
