-- Clients, what people and the practice granted them, their tokens, and the keys that sign for us. Times are
-- microseconds since 1970 UTC. What a client holds as a secret is kept as its SHA-256 only.
create table client (
    id text primary key,
    name text not null,
    publisher text not null default '',
    logo text,
    kind text not null check (kind in ('public', 'symmetric', 'asymmetric', 'backend')),
    redirect_uris text[] not null default '{}',
    launch_url text,
    jwks jsonb,
    jwks_url text,
    secret bytea,
    scopes text not null,
    policy jsonb,
    active boolean not null default true,
    demo boolean not null default false,
    created bigint not null,
    version integer not null default 1
);
comment on table client is 'Apps and systems that may connect. One is deactivated, never removed: the trail names it.';
comment on column client.scopes is 'What it may ask for at most.';
comment on column client.policy is 'What system/ scopes of it are narrowed to; null: nothing further.';
comment on column client.version is 'Counts changes.';

create table grant_ (
    id text primary key,
    client text not null references client,
    account text references account,
    scopes text not null,
    patient text,
    encounter text,
    fhir_context jsonb not null default '[]',
    banner boolean,
    intent text,
    access text not null default 'none' check (access in ('none', 'online', 'offline')),
    session text,
    reason text not null default '',
    reason_until bigint not null default 0,
    nonce text,
    signed_in bigint,
    created bigint not null,
    expires bigint not null,
    revoked bigint,
    version integer not null default 1
);
create index grant_account on grant_ (account, created) where account is not null;
create index grant_client on grant_ (client) where revoked is null;
create index grant_expires on grant_ (expires);
comment on table grant_ is 'What a client may do for an account, or on its own behalf; every token belongs to one.';
comment on column grant_.access is 'Whether it can be refreshed: while its session lasts (online), or beyond (offline).';
comment on column grant_.reason is 'Why the glass was broken, when it was; it lifts rules until reason_until.';
comment on column grant_.version is 'Counts changes: what was decided for a version holds for it only.';

create table grant_token (
    handle bytea primary key,
    grant_ text not null references grant_ on delete cascade,
    kind text not null check (kind in ('access', 'refresh')),
    scopes text,
    created bigint not null,
    expires bigint not null,
    spent bigint
);
create index grant_token_grant on grant_token (grant_);
create index grant_token_expires on grant_token (expires);
comment on table grant_token is 'Access and refresh tokens, by the SHA-256 of the handle.';
comment on column grant_token.scopes is 'Those of this token, when it was refreshed with fewer than the grant has.';
comment on column grant_token.spent is 'When a refresh token was used; used again, it ends its grant.';

create table signing_key (
    kid text primary key,
    alg text not null,
    public jsonb not null,
    private bytea not null,
    created bigint not null,
    retired bigint
);
create unique index signing_key_current on signing_key (alg) where retired is null;
comment on table signing_key is 'Keys that id_tokens are signed with. One is current; retired ones are published on.';
comment on column signing_key.private is 'Sealed with a key that is not in the database.';

create table spent_jti (
    client text not null,
    jti bytea not null,
    expires bigint not null,
    primary key (client, jti)
);
create index spent_jti_expires on spent_jti (expires);
comment on table spent_jti is 'Assertions that clients have signed in with, until they expire: none works twice.';
