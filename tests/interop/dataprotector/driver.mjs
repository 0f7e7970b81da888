// Serves the official DataProtector SDK to the tests: one JSON request a line on stdin, one answer a line on stdout.
// It knows no rule of DataProtector's own; `call` passes straight on to a method of the SDK.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { IExecDataProtectorCore } from '@iexec/dataprotector';
import { IExecDataProtectorDeserializer } from '@iexec/dataprotector-deserializer';
import * as ethers from 'ethers';
import { GraphQLClient } from 'graphql-request';
import { IExec, utils } from 'iexec';
import { filetypeinfo } from 'magic-bytes.js';

const codeUrl = new URL('node_modules/@iexec/dataprotector/dist/src/utils/data.js', import.meta.url);
const data = await import(codeUrl);
const clients = new Map();

// Bytes travel as {"$bytes": base64}, big integers as {"$bigint": text}, numbers that JSON lacks as {"$number": text}.
const revive = (_, value) => {
  if (value === null || typeof value !== 'object') return value;
  if (typeof value.$bytes === 'string') return new Uint8Array(Buffer.from(value.$bytes, 'base64'));
  if (typeof value.$bigint === 'string') return BigInt(value.$bigint);
  return typeof value.$number === 'string' ? Number(value.$number) : value;
};

const plain = (value) => {
  if (value === undefined || typeof value === 'function') return undefined;
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return value;
  if (typeof value === 'number') return Number.isFinite(value) ? value : { $number: String(value) };
  if (typeof value === 'bigint') return { $bigint: value.toString() };
  if (value instanceof Uint8Array) return { $bytes: Buffer.from(value).toString('base64') };
  if (value instanceof ArrayBuffer) return { $bytes: Buffer.from(value).toString('base64') };
  if (value instanceof Error) return { $error: reason(value) };
  if (Array.isArray(value)) return value.map(plain);
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
};

// The SDK wraps what went wrong; the innermost reason is the one that says it.
const reason = (error) => {
  const chain = [];
  for (let one = error; one; one = one.cause) chain.push(`${one.name}: ${one.message}`);
  return chain.join(' <- ');
};

const settled = (calls) =>
  Promise.all(
    calls.map((call) =>
      call().then(
        (value) => ({ value }),
        (error) => ({ error: error.message }),
      ),
    ),
  );

const operations = {
  // The SDK has no configuration for the sandbox's chain and takes no default workerpool: both are put in its place.
  client({ name, rpc, key, options, settings }) {
    const provider = new ethers.JsonRpcProvider(rpc, undefined, { cacheTimeout: -1, pollingInterval: 20 });
    const signer = new ethers.Wallet(key, provider);
    const core = new IExecDataProtectorCore(signer, {});
    core.initPromise = Promise.resolve();
    Object.assign(core, {
      networkName: 'sandbox',
      dataprotectorContractAddress: settings.address,
      defaultWorkerpool: settings.workerpool,
      ipfsNode: options.ipfsNodeURL,
      ipfsGateway: options.ipfsGatewayURL,
      graphQLClient: new GraphQLClient(settings.subgraph),
      pocoSubgraphClient: new GraphQLClient(settings.pocoSubgraph),
      iexec: new IExec({ ethProvider: signer }, options),
    });
    clients.set(name, core);
  },

  call: ({ client, method, args }) => clients.get(client)[method](args),

  methods: ({ client }) =>
    Object.getOwnPropertyNames(Object.getPrototypeOf(clients.get(client))).filter((one) => one !== 'constructor'),

  async zip({ content }) {
    data.ensureDataObjectIsValid(content);
    return { schema: await data.extractDataSchema(content), zip: await data.createZipFromObject(content) };
  },

  schemaText: async ({ content }) => JSON.stringify(await data.extractDataSchema(content)),

  refusals: ({ contents }) =>
    settled(
      contents.map((content) => async () => {
        data.ensureDataObjectIsValid(content);
        await data.createZipFromObject(content);
      }),
    ),

  schemaRefusals: ({ schemas }) => settled(schemas.map((one) => async () => data.ensureSearchableDataSchemaIsValid(one))),

  reversed: ({ entries }) => data.reverseSafeSchema(entries.map((id) => ({ id }))),

  types: async ({ contents }) =>
    Promise.all(contents.map(async (content) => (await data.extractDataSchema({ content })).content)),

  known: ({ content }) => filetypeinfo(content),

  decrypted: ({ content, key }) => utils.decryptResult(content, key),

  async values({ zip, asked }) {
    const folder = await mkdtemp(join(tmpdir(), 'protected-'));
    try {
      const protectedDataPath = join(folder, 'data');
      await writeFile(protectedDataPath, zip);
      return await settled(
        asked.map(([path, schema, mode]) => async () => {
          const reader = new IExecDataProtectorDeserializer({ protectedDataPath, ...(mode && { mode }) });
          return reader.getValue(path, schema);
        }),
      );
    } finally {
      await rm(folder, { recursive: true });
    }
  },
};

// What the SDK prints belongs to no answer.
console.log = console.error;
for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    const { operation, ...rest } = JSON.parse(line, revive);
    answer = { value: plain(await operations[operation](rest)) };
  } catch (error) {
    answer = { error: reason(error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
process.exit(0);
