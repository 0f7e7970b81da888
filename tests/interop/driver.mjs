// Serves the official JavaScript SDK to the tests: one JSON request a line on stdin, one answer a line on stdout.
// It knows no iExec rule of its own; `call` passes straight on to a method of the SDK. It serves version 9 and version 7,
// whichever lies beside it.
import crypto from 'node:crypto';
import { readdirSync } from 'node:fs';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';

import * as ethers from 'ethers';
import * as sdk from 'iexec';
import JSZip from 'jszip';

const { IExec, utils } = sdk.default ?? sdk;
const clients = new Map();

// Bytes travel as {"$bytes": base64}, big numbers as decimal text, and what JSON has no word for as {"$number": text}.
const revive = (_, value) => {
  if (value === null || typeof value !== 'object') return value;
  if (typeof value.$bytes === 'string') return Buffer.from(value.$bytes, 'base64');
  if (typeof value.$big === 'string') return new utils.BN(value.$big);
  return typeof value.$number === 'string' ? Number(value.$number) : value;
};

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

// The folders of the package's code: `dist/esm` in version 9, `dist` in version 7.
const packageUrl = new URL('node_modules/iexec/dist/', import.meta.url);
const codeUrl = new URL(readdirSync(packageUrl).includes('esm') ? 'esm/' : './', packageUrl);
const internal = async (path) => {
  const loaded = await import(new URL(`${path}.js`, codeUrl));
  return loaded.default && typeof loaded.default === 'object' ? loaded.default : loaded;
};

// What many calls give: {value} or {error} for each, so that one that fails does not hide the others.
const settled = async (argsList, call) => {
  const answers = await Promise.allSettled(argsList.map(async (args) => call(...args)));
  return answers.map(({ status, value, reason }) =>
    status === 'fulfilled' ? { value } : { error: `${reason?.name}: ${reason?.message}` },
  );
};

// A service that has no secret yet, takes every secret and remembers what it was sent.
const requests = [];
const recorder = createServer((request, response) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    const { method, url, headers } = request;
    if (method !== 'HEAD') {
      requests.push({ method, url, authorization: headers.authorization, body: Buffer.concat(chunks) });
    }
    response.writeHead(method === 'HEAD' ? 404 : 204).end();
  });
});

const signerOf = (key, rpc) => {
  if (!ethers.JsonRpcProvider) return utils.getSignerFromPrivateKey(rpc, key);
  // Equal answers within 250 ms are cached by default, which a chain that mines at once outruns.
  const provider = new ethers.JsonRpcProvider(rpc, undefined, { cacheTimeout: -1, pollingInterval: 20 });
  return new ethers.Wallet(key, provider);
};

const operations = {
  client({ name, rpc, key, options }) {
    clients.set(name, new IExec({ ethProvider: signerOf(key, rpc) }, options));
  },

  // The methods of each module, as an instance of the SDK has them.
  methods({ client }) {
    const iexec = clients.get(client);
    const modules = Object.keys(iexec).filter((name) => name !== 'config' && typeof iexec[name] === 'object');
    const methodsOf = (module) => Object.keys(module).filter((name) => typeof module[name] === 'function').sort();
    return Object.fromEntries([
      ...modules.map((name) => [name, methodsOf(iexec[name])]),
      ['utils', Object.keys(utils).sort()],
      ['errors', Object.keys((sdk.default ?? sdk).errors).sort()],
    ]);
  },

  call: ({ client, module, method, args }) => clients.get(client)[module][method](...args),

  // Many calls of one method, so that a test with hundreds of values costs one turn.
  map: ({ client, module, method, argsList }) =>
    Promise.all(argsList.map((args) => clients.get(client)[module][method](...args))),

  util: ({ method, args }) => utils[method](...args),

  constants: ({ names }) => Object.fromEntries(names.map((name) => [name, utils[name]])),

  // As `map`, `util` and a function inside the SDK, but with {value} or {error} for each list of arguments.
  each: ({ client, module, method, argsList }) =>
    settled(argsList, (...args) => clients.get(client)[module][method](...args)),

  eachUtil: ({ method, argsList }) => settled(argsList, (...args) => utils[method](...args)),

  async eachInside({ path, method, argsList }) {
    const loaded = await internal(path);
    return settled(argsList, (...args) => loaded[method](...args));
  },

  async eachChecked({ schema, options, values }) {
    const validator = await internal('common/utils/validator');
    return settled(
      values.map((value) => [value]),
      (value) => validator[schema](options).validate(value),
    );
  },

  async recorder() {
    if (!recorder.listening) await new Promise((resolve) => recorder.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${recorder.address().port}`;
  },

  // One after the other: what each call made the SDK send, or why it sent nothing.
  async sent({ client, calls }) {
    const answers = [];
    for (const { module, method, args } of calls) {
      requests.length = 0;
      try {
        await clients.get(client)[module][method](...args);
        answers.push({ value: [...requests] });
      } catch (error) {
        answers.push({ error: `${error.name}: ${error.message}` });
      }
    }
    return answers;
  },

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

  // A zip as JSZip writes it with these options; a name with a final slash is a folder.
  zip({ files, options }) {
    const zip = new JSZip();
    Object.entries(files).forEach(([name, content]) =>
      name.endsWith('/') ? zip.folder(name.slice(0, -1)) : zip.file(name, content),
    );
    return zip.generateAsync({ type: 'nodebuffer', ...options });
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
    const { operation, ...rest } = JSON.parse(line, revive);
    answer = { value: plain(await operations[operation](rest)) };
  } catch (error) {
    answer = { error: `${error.name}: ${error.message}` };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
process.exit(0);
