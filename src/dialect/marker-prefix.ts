/**
 * Prefix of the logical messages that mark the position of a drift check in production's log;
 * Debezium sends them on `<topic prefix>.message`.
 */
export const MARKER_PREFIX = 'understudy';
