-- What access decisions depend on beside the grant itself.

create table access_stamp (
    one boolean primary key default true check (one),
    version bigint not null,
    xact bigint not null
);
insert into access_stamp (version, xact) values (1, 0);
comment on table access_stamp is 'One row, whose version moves with every commit that changes what everybody may see.';
comment on column access_stamp.xact is 'The transaction that moved it last: one move for each is enough.';

-- Who reads a version and then the consents sees those of that version or later, because a row, unlike a sequence,
-- is seen when its transaction commits. It is locked last, at the commit, so that nothing waits while holding it.
create function access_changed() returns trigger language plpgsql as $$
begin
    update access_stamp set version = version + 1, xact = txid_current() where xact <> txid_current();
    return null;
end
$$;

create constraint trigger access_changed after insert or update on resource
    deferrable initially deferred for each row when (new.rt in (29, 109))
    execute function access_changed();
comment on trigger access_changed on resource is 'Consent and PractitionerRole, by their type numbers.';
