// Serves the official JavaScript SDK to the tests: one JSON request a line on stdin, one answer a line on stdout.
// It knows no iExec rule of its own; `call` passes straight on to a method of the SDK.
import crypto from 'node:crypto';
import { createInterface } from 'node:readline';

import { JsonRpcProvider, Wallet } from 'ethers';
import { IExec, utils } from 'iexec';
import JSZip from 'jszip';

const clients = new Map();

// Bytes travel as {"$bytes": base64}; big numbers as decimal text.
const reviveBytes = (_, value) =>
  value && typeof value === 'object' && typeof value.$bytes === 'string' ? Buffer.from(value.$bytes, 'base64') : value;

const plain = (value) => {
  if (value === undefined || typeof value === 'function') return undefined;
  if (value === null || typeof value === 'boolean' || typeof value === 'string' || typeof value === 'number') return value;
  if (typeof value === 'bigint' || utils.BN.isBN(value)) return value.toString();
  if (value instanceof Uint8Array) return { $bytes: Buffer.from(value).toString('base64') };
  if (value instanceof ArrayBuffer) return { $bytes: Buffer.from(value).toString('base64') };
  if (Array.isArray(value)) return value.map(plain);
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
};

const aes = (name, key, iv, data) => {
  const cipher = crypto.createCipheriv(name, key, iv);
  return Buffer.concat([cipher.update(data), cipher.final()]);
};

const seal = (pem, data) => crypto.publicEncrypt({ key: pem, padding: crypto.constants.RSA_PKCS1_PADDING }, data);

const zipped = (files) => {
  const zip = new JSZip();
  Object.entries(files).forEach(([name, content]) => zip.file(name, content));
  return zip.generateAsync({ type: 'nodebuffer', compression: 'DEFLATE' });
};

const updates = (observable) =>
  new Promise((resolve, reject) => {
    const seen = [];
    observable.subscribe({ next: (update) => seen.push(update), error: reject, complete: () => resolve(seen) });
  });

const operations = {
  client({ name, rpc, key, options }) {
    // Equal answers within 250 ms are cached by default, which a chain that mines at once outruns.
    const provider = new JsonRpcProvider(rpc, undefined, { cacheTimeout: -1, pollingInterval: 20 });
    clients.set(name, new IExec({ ethProvider: new Wallet(key, provider) }, options));
  },

  call: ({ client, module, method, args }) => clients.get(client)[module][method](...args),

  // Many calls of one method, so that a test with hundreds of values costs one turn.
  map: ({ client, module, method, argsList }) =>
    Promise.all(argsList.map((args) => clients.get(client)[module][method](...args))),

  util: ({ method, args }) => utils[method](...args),

  // A deal and one of its tasks, each until the SDK says that it has ended: every update of both.
  async follow({ client, dealid, taskid }) {
    const { deal, task } = clients.get(client);
    const [deals, tasks] = await Promise.all([
      updates(await deal.obsDeal(dealid)),
      updates(await task.obsTask(taskid, { dealid })),
    ]);
    return { deal: deals, task: tasks };
  },

  async fetchResults({ client, taskid }) {
    const response = await clients.get(client).task.fetchResults(taskid);
    return new Uint8Array(await response.arrayBuffer());
  },

  // What OpenSSL makes of it, which is nobody's iExec code.
  decryptDataset({ data, key }) {
    const decipher = crypto.createDecipheriv('aes-256-cbc', Buffer.from(key, 'base64'), data.subarray(0, 16));
    return Buffer.concat([decipher.update(data.subarray(16)), decipher.final()]);
  },

  encryptedResult({ pem, data, legacy }) {
    const key = crypto.randomBytes(legacy ? 16 : 32);
    const iv = crypto.randomBytes(16);
    return zipped(
      legacy
        ? {
            'iexec_out.zip.aes': aes('aes-128-ecb', key, null, data).toString('base64'),
            'aes-key.rsa': seal(pem, Buffer.from(key.toString('base64'))).toString('base64'),
          }
        : {
            'iexec_out.zip.aes': Buffer.concat([iv, aes('aes-256-cbc', key, iv, data)]),
            'aes-key.rsa': seal(pem, key),
          },
    );
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    const { operation, ...rest } = JSON.parse(line, reviveBytes);
    answer = { value: plain(await operations[operation](rest)) };
  } catch (error) {
    answer = { error: `${error.name}: ${error.message}` };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
process.exit(0);
