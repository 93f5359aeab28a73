-- One call applies the changes of many requests (units) in one database transaction.
--
-- Change n (1-based) of the arrays: unit, rid, rt, id, base version (-1: the row must not exist yet), method,
-- date, digest of the ordered rows, meta, content (null: delete), and the ends of its slices of p_keys and p_params.
-- Rows of the ordered indexes name their change by number. p_ref_*: what a unit refers to outside itself and must find alive.
-- p_delete_*: keys by which others could refer to what change n deletes. The caller keeps changes of the same
-- resource, and deletes and uses of the same resource by different units, out of one call.
--
-- Answers one row per change (problem 0; updated is that of the current version), or, having written nothing,
-- one row per problem:
--   1 stale: change n is not based on the current version (detail: the current one, -1 none)
--   2 missing: unit n refers to rid detail, which is absent or deleted
--   3 in use: change n deletes a resource that rid detail, of type number version, refers to
-- p_coding_*, p_phrase_*: entries of the dictionaries that the caller has not seen in them yet.
-- Method 4 is no new version: the rows of the current one are made anew (base must be that; content is null).
-- A reference that no search parameter covers stands under parameter 0: its key is the rid of the target.
create function write_changes(
    p_unit integer[], p_rid bigint[], p_rt smallint[], p_id text[], p_base integer[], p_method smallint[],
    p_date bigint[], p_digest bigint[], p_meta text[], p_content text[],
    p_keys bigint[], p_keys_end integer[], p_params smallint[], p_params_end integer[],
    p_string_n integer[], p_string_key bigint[], p_string_text text[],
    p_date_n integer[], p_date_key bigint[], p_date_lo bigint[], p_date_hi bigint[],
    p_number_n integer[], p_number_key bigint[], p_number_lo double precision[],
    p_number_hi double precision[], p_number_unit integer[], p_number_label integer[],
    p_words_n integer[], p_words_narrative text[], p_words_content text[],
    p_ref_unit integer[], p_ref_rt smallint[], p_ref_rid bigint[],
    p_delete_n integer[], p_delete_rt smallint[], p_delete_key bigint[],
    p_coding_key bigint[], p_coding bigint[],
    p_phrase_id bigint[], p_phrase_pid smallint[], p_phrase_text text[], p_phrase_raw text[], p_phrase_key bigint[]
) returns table (problem smallint, n integer, version integer, updated bigint, changed boolean, detail bigint)
language plpgsql as $$
#variable_conflict use_column
declare
    v_now constant bigint := (extract(epoch from clock_timestamp()) * 1000000)::bigint;
    v_new constant boolean := -1 = any (p_base);
    v_old constant boolean := 0 <= any (p_base);
    v_bad boolean := false;
    v_changed boolean[] := array_fill(true, array[cardinality(p_rid)]);
    v_ranges boolean[] := v_changed;
begin
    -- Who deletes a resource and who refers to it exclude each other until commit. Statements of a function see
    -- what was committed before they began, so all checks come after the locks.
    perform case when locks.alone then pg_advisory_xact_lock(7331, locks.stripe)
                 else pg_advisory_xact_lock_shared(7331, locks.stripe) end
    from (
        select wanted.stripe, bool_or(wanted.alone) as alone
        from (
            select (used.rid & 4095)::integer, false from unnest(p_ref_rid) as used (rid)
            union all
            select (c.rid & 4095)::integer, true from unnest(p_rid, p_method) as c (rid, method)
            where c.method = 3
        ) as wanted (stripe, alone)
        group by wanted.stripe order by wanted.stripe
    ) as locks;

    if v_old then
        perform r.rid
        from unnest(p_rid, p_rt, p_base) as c (rid, rt, base)
        cross join lateral (select r.rid from resource r where r.rid = c.rid for update) as r
        where c.base >= 0;

        return query
        select 1::smallint, c.n::integer, null::integer, null::bigint, null::boolean, coalesce(r.version, -1)::bigint
        from unnest(p_rid, p_rt, p_base) with ordinality as c (rid, rt, base, n)
        left join lateral (select r.version from resource r where r.rid = c.rid offset 0) as r on true
        where c.base >= 0 and r.version is distinct from c.base;
        v_bad := found;
    end if;

    return query
    select 2::smallint, c.unit, null::integer, null::bigint, null::boolean, c.rid
    from unnest(p_ref_unit, p_ref_rt, p_ref_rid) as c (unit, rt, rid)
    left join lateral (
        select true as alive from resource r where r.rid = c.rid and not r.deleted offset 0
    ) as r on true
    where r.alive is null;
    v_bad := v_bad or found;

    if cardinality(p_delete_n) > 0 then
        return query
        select distinct on (u.n) 3::smallint, u.n, u.rt::integer, null::bigint, null::boolean, u.rid
        from (
            select c.n, t.rt, t.rid
            from unnest(p_delete_n, p_delete_rt, p_delete_key) as c (n, rt, key)
            cross join lateral (select t.rt, t.rid from token t where t.rt = c.rt and t.key = c.key offset 0) as t
            union all
            select c.n::integer, t.rt, t.rid
            from unnest(p_rid, p_method) with ordinality as c (rid, method, n)
            cross join lateral (select t.rt, t.rid from token t where t.key = c.rid offset 0) as t
            where c.method = 3
        ) as u
        where not exists (
            select from unnest(p_rid, p_unit) as own (rid, unit) where own.rid = u.rid and own.unit = p_unit[u.n]);
        v_bad := v_bad or found;
    end if;

    if v_bad then
        return;
    end if;

    if v_old then
        -- What changes nothing makes no version: jsonb's text is compared, so 1.0 and 1.00 differ. Rows of the
        -- ordered indexes are left alone where they stay as they are.
        select array_agg(c.base <= 0 or c.content is null or r.deleted
                         or r.content::text <> c.content::jsonb::text
                         or r.meta::text is distinct from c.meta::jsonb::text order by c.n),
               array_agg(c.base <= 0 or c.method = 4 or r.digest <> c.digest order by c.n)
        into v_changed, v_ranges
        from unnest(p_rid, p_rt, p_base, p_method, p_digest, p_meta, p_content)
            with ordinality as c (rid, rt, base, method, digest, meta, content, n)
        left join lateral (
            select r.deleted, r.digest, r.meta, r.content
            from resource r where r.rid = c.rid offset 0
        ) as r on c.base > 0;
        select array_agg(changed and moved order by n) into v_ranges
        from unnest(v_changed, v_ranges) with ordinality as c (changed, moved, n);

        insert into history (rid, updated, version, rt, method, deleted, meta, content)
        select r.rid, r.updated, r.version, r.rt, r.method, r.deleted, r.meta, r.content
        from unnest(p_rid, p_rt, p_base) with ordinality as c (rid, rt, base, n)
        cross join lateral (select r.* from resource r where r.rid = c.rid offset 0) as r
        where c.base > 0 and v_changed[c.n] and p_method[c.n] <> 4;

        delete from token t
        using (
            select r.rt, r.rid, r.date, old.key
            from unnest(p_rid, p_rt, p_base, p_date) with ordinality as c (rid, rt, base, date, n)
            cross join lateral (
                select r.rt, r.rid, r.date, r.keys, r.date <> c.date or p_method[c.n] = 4 as moved
                from resource r where r.rid = c.rid offset 0
            ) as r
            cross join lateral (
                -- By hashing, not one by one: there may be very many.
                select k.key from unnest(r.keys) as k (key)
                except
                select k.key from unnest(p_keys[coalesce(p_keys_end[c.n - 1], 0) + 1 : p_keys_end[c.n]]) as k (key)
                where not r.moved
            ) as old
            where c.base > 0 and v_changed[c.n]
        ) as gone
        where t.rt = gone.rt and t.key = gone.key and t.date = gone.date and t.rid = gone.rid;

        insert into token (key, date, rid, rt)
        select new.key, c.date, c.rid, c.rt
        from unnest(p_rid, p_rt, p_base, p_date) with ordinality as c (rid, rt, base, date, n)
        cross join lateral (
            select r.keys, r.date <> c.date or p_method[c.n] = 4 as moved
            from resource r where r.rid = c.rid offset 0
        ) as r
        cross join lateral (
            select k.key from unnest(p_keys[coalesce(p_keys_end[c.n - 1], 0) + 1 : p_keys_end[c.n]]) as k (key)
            except
            select k.key from unnest(r.keys) as k (key) where not r.moved
        ) as new
        where c.base >= 0 and v_changed[c.n];

        if true = any (v_ranges) then
            delete from words t
            using unnest(p_rid, p_rt, p_base) with ordinality as c (rid, rt, base, n)
            where t.rt = c.rt and t.rid = c.rid and c.base > 0 and v_ranges[c.n];
            delete from string t
            using unnest(p_rid, p_rt, p_base) with ordinality as c (rid, rt, base, n)
            where t.rt = c.rt and t.rid = c.rid and c.base > 0 and v_ranges[c.n];
            delete from date t
            using unnest(p_rid, p_rt, p_base) with ordinality as c (rid, rt, base, n)
            where t.rt = c.rt and t.rid = c.rid and c.base > 0 and v_ranges[c.n];
            delete from number t
            using unnest(p_rid, p_rt, p_base) with ordinality as c (rid, rt, base, n)
            where t.rt = c.rt and t.rid = c.rid and c.base > 0 and v_ranges[c.n];
        end if;

        update resource r
        set updated = case when c.method = 4 then r.updated else greatest(v_now, r.updated + 1) end, date = c.date,
            version = case when c.method = 4 then r.version else r.version + 1 end,
            method = case when c.method = 4 then r.method else c.method end, deleted = c.method = 3,
            digest = c.digest,
            meta = case when c.method = 4 then r.meta else c.meta::jsonb end,
            content = case when c.method = 4 then r.content else c.content::jsonb end,
            keys = p_keys[coalesce(p_keys_end[c.n - 1], 0) + 1 : p_keys_end[c.n]],
            params = p_params[coalesce(p_params_end[c.n - 1], 0) + 1 : p_params_end[c.n]]
        from unnest(p_rid, p_rt, p_base, p_method, p_date, p_digest, p_meta, p_content)
            with ordinality as c (rid, rt, base, method, date, digest, meta, content, n)
        where r.rid = c.rid and c.base >= 0 and v_changed[c.n];
    end if;

    if v_new then
        insert into resource (
            rid, updated, date, version, rt, method, deleted, digest, id, params, keys, meta, content)
        select c.rid, v_now, c.date, case when c.content is null then 0 else 1 end, c.rt, c.method, c.content is null,
            c.digest, c.id, p_params[coalesce(p_params_end[c.n - 1], 0) + 1 : p_params_end[c.n]],
            p_keys[coalesce(p_keys_end[c.n - 1], 0) + 1 : p_keys_end[c.n]], c.meta::jsonb, c.content::jsonb
        from unnest(p_rid, p_rt, p_id, p_base, p_method, p_date, p_digest, p_meta, p_content)
            with ordinality as c (rid, rt, id, base, method, date, digest, meta, content, n)
        where c.base < 0;

        insert into token (key, date, rid, rt)
        select new.key, c.date, c.rid, c.rt
        from unnest(p_rid, p_rt, p_base, p_date) with ordinality as c (rid, rt, base, date, n)
        cross join unnest(p_keys[coalesce(p_keys_end[c.n - 1], 0) + 1 : p_keys_end[c.n]]) as new (key)
        where c.base < 0;
    end if;

    if cardinality(p_coding_key) > 0 then
        -- In one order for everybody, so that nobody waits in a circle.
        insert into coding (key, coding)
        select c.key, c.coding from unnest(p_coding_key, p_coding) as c (key, coding) order by c.key, c.coding
        on conflict do nothing;
    end if;
    if cardinality(p_phrase_id) > 0 then
        insert into phrase (id, pid, text, raw, key)
        select c.id, c.pid, c.text, c.raw, c.key
        from unnest(p_phrase_id, p_phrase_pid, p_phrase_text, p_phrase_raw, p_phrase_key) as c (id, pid, text, raw, key)
        order by c.id
        on conflict do nothing;
    end if;
    if cardinality(p_string_n) > 0 then
        insert into string (key, rid, rt, text)
        select c.key, p_rid[c.n], p_rt[c.n], c.text
        from unnest(p_string_n, p_string_key, p_string_text) as c (n, key, text) where v_ranges[c.n];
    end if;
    if cardinality(p_date_n) > 0 then
        insert into date (key, lo, hi, rid, rt)
        select c.key, c.lo, c.hi, p_rid[c.n], p_rt[c.n]
        from unnest(p_date_n, p_date_key, p_date_lo, p_date_hi) as c (n, key, lo, hi) where v_ranges[c.n];
    end if;
    if cardinality(p_number_n) > 0 then
        insert into number (key, lo, hi, rid, unit, label, rt)
        select c.key, c.lo, c.hi, p_rid[c.n], c.unit, c.label, p_rt[c.n]
        from unnest(p_number_n, p_number_key, p_number_lo, p_number_hi, p_number_unit, p_number_label)
            as c (n, key, lo, hi, unit, label) where v_ranges[c.n];
    end if;
    if cardinality(p_words_n) > 0 then
        insert into words (rid, rt, narrative, content)
        select p_rid[c.n], p_rt[c.n], array_to_tsvector(string_to_array(nullif(c.narrative, ''), ' ')),
            array_to_tsvector(string_to_array(nullif(c.content, ''), ' '))
        from unnest(p_words_n, p_words_narrative, p_words_content) as c (n, narrative, content) where v_ranges[c.n];
    end if;

    if v_old then
        return query
        select 0::smallint, c.n::integer, r.version, r.updated, v_changed[c.n], null::bigint
        from unnest(p_rid, p_rt) with ordinality as c (rid, rt, n)
        cross join lateral (
            select r.version, r.updated from resource r where r.rid = c.rid offset 0
        ) as r;
    else
        return query
        select 0::smallint, c.n::integer, 1, v_now, true, null::bigint
        from generate_subscripts(p_rid, 1) as c (n);
    end if;
end
$$;
