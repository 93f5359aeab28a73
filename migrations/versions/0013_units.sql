-- Numbers in the order of each unit: a search that names a unit no longer walks the values of all others.

create index number_unit on number (key, unit, lo, rid, hi, label);
drop index number_key;
alter index number_unit rename to number_key;
create index number_label on number (key, label, lo, rid, hi, unit) where label <> 0;
