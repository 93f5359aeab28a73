-- Accounts, sign-in sessions and what protects them. Times are microseconds since 1970 UTC.
create table account (
    id text primary key,
    username text not null unique,
    role text not null check (role in ('admin', 'practitioner', 'frontdesk', 'biller', 'patient')),
    fhir_user text,
    password text not null,
    must_change boolean not null default false,
    totp bytea,
    totp_step bigint not null default 0,
    active boolean not null default true,
    demo boolean not null default false,
    created bigint not null,
    version integer not null default 1
);
comment on table account is 'People who sign in. One is deactivated, never removed: the audit trail names it.';
comment on column account.username is 'Normalised: lower case, NFKC.';
comment on column account.fhir_user is 'The resource that stands for the person: Practitioner/1, Patient/1.';
comment on column account.password is 'argon2id, with its parameters.';
comment on column account.must_change is 'The password was given by somebody else and is good for one sign-in.';
comment on column account.totp is 'Secret of the authenticator app, sealed with a key that is not in the database.';
comment on column account.totp_step is 'The last time step a code was accepted for: no code works twice.';
comment on column account.demo is 'Made with the demo practice; its password is known to everybody.';
comment on column account.version is 'Counts changes.';

create table recovery_code (
    account text not null references account on delete cascade,
    hash bytea not null,
    primary key (account, hash)
);
comment on table recovery_code is 'What signs in once without the authenticator app; a row goes when its code is used.';

create table session (
    id text primary key,
    cookie bytea not null unique,
    account text not null references account on delete cascade,
    stage text not null check (stage in ('totp', 'change', 'complete')),
    created bigint not null,
    seen bigint not null,
    ends bigint not null,
    address text not null default '',
    reason text not null default '',
    reason_until bigint not null default 0
);
create index session_account on session (account);
create index session_ends on session (ends);
comment on table session is 'Browsers in which somebody is signing in or signed in; a row goes when its session ends.';
comment on column session.cookie is 'SHA-256 of the value of the cookie.';
comment on column session.stage is 'What is still asked for: a code, a new password, or nothing.';
comment on column session.ends is 'However busy the session is, it ends then.';
comment on column session.reason is 'Why the glass was broken; grants given until reason_until carry it.';

create table attempt (
    key text primary key,
    failed double precision not null,
    last bigint not null,
    locked_until bigint not null default 0
);
create index attempt_last on attempt (last);
comment on table attempt is 'Failed sign-ins by username (whether it exists or not) and by network address.';
comment on column attempt.failed is 'How many; for addresses it drains away with time.';
