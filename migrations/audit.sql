-- The audit trail: one row per interaction, written in the commit of the change it tells of, or before the answer
-- leaves. Rows are never changed. Each belongs to a chain; mac authenticates the row together with the mac of the
-- row before it, under a key that is not in the database (store/audit/chain.py).

create table audit (
    chain integer not null,
    seq bigint not null,
    at bigint not null,
    outcome smallint not null,
    status smallint not null,
    kind text not null,
    interaction text not null,
    type text not null,
    id text not null,
    agent text not null,
    request text not null,
    patients text[] not null,
    detail json not null,
    mac bytea not null,
    constraint audit_pkey primary key (chain, seq)
);
create index audit_at on audit (at, chain, seq);
create index audit_agent on audit (agent, at, chain, seq);
create index audit_patients on audit using gin (patients)
    with (fastupdate = on, gin_pending_list_limit = 256) where patients <> '{}';
comment on table audit is 'Who did what to which resource of which patient.';
comment on column audit.at is 'When it was recorded, microseconds since 1970 UTC.';
comment on column audit.outcome is '0 success, 4 refused, 8 failed, 12 the service was not there.';
comment on column audit.status is 'The HTTP status of the answer; 0 when there was none.';
comment on column audit.agent is 'The username, or the client that acted by itself.';
comment on column audit.patients is 'Logical ids of the patients concerned.';
comment on column audit.detail is 'The rest, by name, where there is anything to say; the text is part of what mac covers.';

create function audit_is_kept() returns trigger language plpgsql as $$
begin
    raise exception 'The audit trail is only added to: % is refused.', tg_op using errcode = 'insufficient_privilege';
end
$$;
create trigger audit_is_kept before update or delete or truncate on audit
    for each statement execute function audit_is_kept();
