/**
 * The embedded default: a real database server from npm, kept in `.understudy/` beside the
 * configuration. Only its address is known outside the engine's folder.
 */
export { ensureEmbeddedServer } from './postgres/embedded/server.ts';
