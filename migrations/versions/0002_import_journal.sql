-- What `fhirhub import` has taken in. A row is written in the transaction that writes its resources, so that an
-- interrupted import can be started again without taking anything twice.
create table import_journal (
    unit text primary key,
    open integer[] not null,
    counts jsonb not null,
    updated timestamptz not null default now()
);
comment on table import_journal is 'What fhirhub import has taken in, by the content of the files.';
comment on column import_journal.unit is 'SHA-256 of the file, member of the archive, number of the part.';
comment on column import_journal.open is 'Numbers of the items of the unit that are not in the store yet.';
comment on column import_journal.counts is 'Resource type -> resources of the unit that are in the store.';
