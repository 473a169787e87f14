-- What is read by whom, told by every build of the consumers before it handles anything: a row with grp '' says that the
-- type is known, one with a group's name that the group has a handler for it. Rows are never deleted: a build that does
-- not know a type passes an event of it only when this table says that the type is known and its own group, in whatever
-- build, does not read it (docs/versions.md).
CREATE TABLE message_registry (
    type text NOT NULL,
    grp text NOT NULL,
    PRIMARY KEY (type, grp)
);
-- Every group writes for all groups of its build, and groups come with later migrations: hence PUBLIC, like bus_meta. A
-- wrong row can make a member stand down; it cannot make one pass what it should not.
GRANT SELECT, INSERT ON message_registry TO PUBLIC;
