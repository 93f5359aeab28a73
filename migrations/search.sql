-- Further indexes for searches.
--
-- Trigrams serve :contains on names, addresses and whatever else stands in the general partition: 0.2 ms instead of
-- 84 ms at a million rows. With a pending list they make a new patient, which has some 16 texts, about 40 µs dearer
-- (without one, 1,200 µs); measurements have no such index, they are written too often. Where the extension cannot be
-- had, :contains looks through the rows of its parameter.
do $$
begin
    create extension if not exists pg_trgm;
    create index string_general_trigram on string_general using gin (text gin_trgm_ops)
        with (fastupdate = on, gin_pending_list_limit = 1024);
exception
    when undefined_file or feature_not_supported or insufficient_privilege or undefined_object then
        raise notice 'pg_trgm is not available: searches with :contains will be slow on many patients';
end
$$;
