-- Counts of what very many resources have, kept so that most of them need not be made again.
--
-- A count is kept with the resources of its type that changed last when it was made. Every change since shows among
-- those that changed after the same moment: created ones are added, after any other change it is counted anew. So a
-- count is exact, writing costs nothing, and no row here is ever right by luck: what cannot be told is not used.

create unlogged table tally (
    key bigint not null,
    rt smallint not null,
    n bigint not null,
    epoch bigint not null,
    since bigint not null,
    rids bigint[] not null,
    versions integer[] not null,
    primary key (key, rt)
) with (fillfactor = 50);
comment on table tally is 'Resources of a type under a key of token (0: all of the type), as they were counted last.';
comment on column tally.epoch is 'n of the row (0, 0) then: it grows when index rows change while their resources do not.';
comment on column tally.since is 'No transaction that was open when it was counted, or began later, changes a resource at an earlier time.';
comment on column tally.rids is 'What had been changed since that moment, versions beside it: part of the count.';

-- p_rows: the partition of token with the rows of p_key.
create function counted(p_key bigint, p_rt smallint, p_rows text) returns bigint
language plpgsql volatile as $$
declare
    most constant integer := 300;
    kept tally;
    v_epoch bigint;
    v_seen integer;
    v_other integer;
    v_more integer;
    v_since bigint;
    v_rids bigint[];
    v_versions integer[];
    v_n bigint;
begin
    select * into kept from tally t where t.key = p_key and t.rt = p_rt;
    if found then
        select count(*), count(*) filter (where c.version > 1), count(*) filter (where c.version = 1 and c.counts),
            coalesce((select t.n from tally t where t.key = 0 and t.rt = 0), 0)
        into v_seen, v_other, v_more, v_epoch
        from (
            select r.version, p_key = 0 or p_key = any (r.keys) as counts from resource r
            where r.rt = p_rt and r.updated >= kept.since
                and kept.versions[array_position(kept.rids, r.rid)] is distinct from r.version
            limit most + 1
        ) as c;
        if v_seen <= most and v_other = 0 and v_epoch = kept.epoch then
            return kept.n + v_more;
        end if;
    end if;

    -- Whoever is still at work has begun by then, or begins later, and dates its changes after its beginning; a second
    -- is for clocks that are set back a little. Where others are at work whose beginning may not be seen, nothing is kept.
    select case when not bool_or(a.backend_type is null and a.usesysid is not null)
        then (extract(epoch from least(min(a.xact_start), transaction_timestamp())) * 1000000)::bigint - 1000000 end
    into v_since from pg_stat_activity a where a.datname = current_database();
    -- In one statement, so that all of it is of the same moment; planned for this partition, whose index tells alone.
    execute 'select (' || case when p_key = 0 then 'select count(*) from resource where rt = $2 and not deleted'
                               else format('select count(*) from %I where key = $1', p_rows) end
        || $rest$), coalesce((select n from tally where key = 0 and rt = 0), 0), w.rids, w.versions
        from (
            select coalesce(array_agg(c.rid), '{}') as rids, coalesce(array_agg(c.version), '{}') as versions
            from (select rid, version from resource where rt = $2 and updated >= $3 limit $4) as c
        ) as w
        $rest$
    into v_n, v_epoch, v_rids, v_versions using p_key, p_rt, v_since, most + 1;
    if v_since is not null and cardinality(v_rids) <= most and current_setting('track_activities')::boolean
            and pg_try_advisory_xact_lock(7340, hashint8(p_key # p_rt)) then
        insert into tally as t (key, rt, n, epoch, since, rids, versions)
        values (p_key, p_rt, v_n, v_epoch, v_since, v_rids, v_versions)
        on conflict (key, rt) do update set n = excluded.n, epoch = excluded.epoch, since = excluded.since,
            rids = excluded.rids, versions = excluded.versions;
    end if;
    return v_n;
end
$$;
comment on function counted is 'How many resources of a type have a key of token (0: any), exactly.';
