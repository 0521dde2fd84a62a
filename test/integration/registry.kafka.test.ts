import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { isUnderstudyError } from '../../src/errors/understudy-error.ts';
import { RegistryClient } from '../../src/source/registry/registry-client.ts';
import { sharedRegistry } from '../support/shared-stack.ts';

const SCHEMA = { type: 'record', name: `R${process.pid}`, fields: [{ name: 'a', type: 'long' }] };

describe('a real registry', () => {
  it('gives schemas by every kind of id, and knows what it does not have', async () => {
    const { url, port } = await sharedRegistry();
    const made = await fetch(`${url}/subjects/registry${process.pid}/versions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ schema: JSON.stringify(SCHEMA) }),
    });
    const { id } = (await made.json()) as { id: number };
    const confluent = new RegistryClient({ url: `${url}/`, api: 'confluent' });
    const own = `http://127.0.0.1:${String(port)}/apis/registry/v2`;
    const apicurio = new RegistryClient({ url: own, api: 'apicurio' });
    const unknown = { id: '2000000000' };
    expect(JSON.parse(await confluent.fetchSchema({ kind: 'id', id: String(id) }))).toEqual(SCHEMA);
    expect(JSON.parse(await apicurio.fetchSchema({ kind: 'contentId', id: String(id) }))).toEqual(
      SCHEMA,
    );
    await expect(apicurio.fetchSchema({ kind: 'globalId', ...unknown })).rejects.toMatchObject({
      code: 'SCHEMA_UNKNOWN',
    });
    await expect(confluent.fetchSchema({ kind: 'id', ...unknown })).rejects.toMatchObject({
      code: 'SCHEMA_UNKNOWN',
    });
  });
});

describe('what a registry answers', () => {
  it.each([
    [200, '{"schema":"\\"long\\""}', '"long"'],
    [200, '{"schema":"{}","schemaType":"PROTOBUF"}', 'SCHEMA_UNKNOWN'],
    [200, '<html>', 'REGISTRY_REFUSED'],
    [200, '{}', 'REGISTRY_REFUSED'],
    [401, '', 'REGISTRY_REFUSED'],
    [404, '', 'SCHEMA_UNKNOWN'],
    [429, '', 'REGISTRY_UNREACHABLE'],
    [503, '', 'REGISTRY_UNREACHABLE'],
  ])('%i %s is %s, and the account is sent and never shown', async (status, body, expected) => {
    let account: string | undefined;
    const server = createServer((request, response) => {
      account = request.headers.authorization;
      response.writeHead(status).end(body);
    });
    server.listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    onTestFinished(() => void server.close());
    const { port } = server.address() as AddressInfo;
    const url = `http://reader:p%40ss@127.0.0.1:${String(port)}/registry/`;
    const client = new RegistryClient({ url, api: 'confluent' });
    const asked = client.fetchSchema({ kind: 'guid', id: 'a-b' });
    const answer: unknown = await asked.catch((error: unknown) => error);
    expect(isUnderstudyError(answer) ? answer.code : answer).toBe(expected);
    expect(JSON.stringify(answer)).not.toContain('p@ss');
    expect(account).toBe(`Basic ${Buffer.from('reader:p@ss').toString('base64')}`);
    expect(client.address).not.toContain('reader');
  });
});
