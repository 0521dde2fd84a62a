import mysql, { type Connection, type RowDataPacket } from 'mysql2/promise';

export async function connectTo(url: string): Promise<Connection> {
  const client = await mysql.createConnection(url);
  // A session ended by force tells so here first; the statement in flight rejects as well.
  client.on('error', () => undefined);
  return client;
}

export async function rowsOf<Row>(client: Connection, sql: string): Promise<readonly Row[]> {
  const [rows] = await client.query<RowDataPacket[]>(sql);
  return rows as unknown as readonly Row[];
}
