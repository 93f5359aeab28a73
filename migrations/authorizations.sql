-- Authorizations under way: requests, codes and launches. All of it is short-lived; times are microseconds since
-- 1970 UTC. What a client or a browser holds as a secret (codes, launch handles) is kept as its SHA-256 only.

create table launch (
    handle bytea primary key,
    client text not null,
    account text not null,
    context jsonb not null,
    created bigint not null,
    expires bigint not null,
    spent bigint
);
create index launch_expires on launch (expires);
create index launch_account on launch (account);
comment on table launch is 'EHR launches that were started and wait for their app to ask for authorization.';
comment on column launch.context is 'What the app is launched on: patient, encounter, fhirContext, banner, intent.';

create table authorization_request (
    id text primary key,
    client text not null,
    redirect_uri text not null,
    scope text not null,
    state text not null,
    nonce text,
    challenge text not null,
    prompt text not null default '',
    max_age bigint,
    context jsonb not null,
    launched boolean not null,
    launch_account text,
    account text,
    session text,
    created bigint not null,
    expires bigint not null,
    finished bigint
);
create index authorization_request_expires on authorization_request (expires);
create index authorization_request_account on authorization_request (account);
comment on table authorization_request is 'Requests of apps, checked, that a person has not answered yet.';
comment on column authorization_request.scope is 'As the app may ask for it: the answer can only be narrower.';
comment on column authorization_request.session is 'The only session that may answer, once someone has signed in.';
comment on column authorization_request.launch_account is 'Who started the EHR launch; only they may answer.';

create table authorization_code (
    code bytea primary key,
    client text not null,
    redirect_uri text not null,
    challenge text not null,
    grant_id text not null,
    account text not null,
    fhir_user text,
    role text not null,
    scope text not null,
    context jsonb not null,
    nonce text,
    session text,
    reason text not null default '',
    reason_until bigint not null default 0,
    signed_in bigint,
    created bigint not null,
    expires bigint not null,
    spent bigint
);
create index authorization_code_created on authorization_code (created);
create index authorization_code_account on authorization_code (account);
comment on table authorization_code is 'Codes that an app changes for tokens, once; kept for a while to notice a reuse.';
comment on column authorization_code.grant_id is 'Id of the grant that the exchange makes, and a reuse revokes.';
