/** Started by a test: starts a PostgreSQL, tells its process id and folder, and waits for its end. */
import { startPostgres } from '../postgres.ts';

const server = await startPostgres();
console.log(JSON.stringify({ pid: server.pid, dataDir: server.dataDir }));
