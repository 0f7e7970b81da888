// Files and folders of IPFS as the packages of its authors make and read them.
//
//   node unixfs.mjs make FOLDER      writes NAME.car for each case below, and manifest.json about all of them
//   node unixfs.mjs read URL CID FORMAT   reads a CID through a gateway (FORMAT raw or car), prints what it holds

import { createHash } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { finished } from 'node:stream/promises'

import { CarReader, CarWriter } from '@ipld/car'
import * as dagPb from '@ipld/dag-pb'
import { MemoryBlockstore } from 'blockstore-core'
import { IdentityBlockstore } from 'blockstore-core/identity'
import { UnixFS } from 'ipfs-unixfs'
import { exporter, recursive } from 'ipfs-unixfs-exporter'
import { importer } from 'ipfs-unixfs-importer'
import { fixedSize, rabin } from 'ipfs-unixfs-importer/chunker'
import { balanced, flat, trickle } from 'ipfs-unixfs-importer/layout'
import { CID } from 'multiformats/cid'
import * as raw from 'multiformats/codecs/raw'
import { identity } from 'multiformats/hashes/identity'
import { sha512 } from 'multiformats/hashes/sha2'

const MIB = 1024 * 1024

function content (size, seed = 1) {
  // A generator that any language can repeat; what it gives does not compress and does not repeat.
  const bytes = new Uint8Array(size)
  let state = seed >>> 0
  for (let at = 0; at < size; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    bytes[at] = state >>> 24
  }
  return bytes
}

const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex')

async function collected (chunks) {
  const parts = []
  for await (const chunk of chunks) parts.push(chunk)
  return Buffer.concat(parts)
}

const small = { chunker: fixedSize({ chunkSize: 1000 }) }
const files = (count, prefix = 'file') => Array.from({ length: count }, (_, at) => ({
  path: `${prefix}-${at}.txt`, content: content(20 + at % 50, at + 1)
}))
const sharded = { wrapWithDirectory: true, shardSplitThresholdBytes: 0 }

const cases = {
  'version 0': [[{ content: content(3 * MIB + 17) }], { profile: 'unixfs-v0-2015' }],
  'version 1, as helia adds': [[{ content: content(3 * MIB + 17) }], { profile: 'unixfs-v1-2025' }],
  'version 1, nodes as leaves': [[{ content: content(MIB) }], { rawLeaves: false }],
  'leaves of the kind raw': [[{ content: content(5000) }], { ...small, rawLeaves: false, leafType: 'raw' }],
  'one raw block': [[{ content: content(1000) }], {}],
  'one node': [[{ content: content(1000) }], { profile: 'unixfs-v0-2015' }],
  'one leaf under a root': [[{ content: content(100) }], { reduceSingleLeafToSelf: false }],
  'empty, version 0': [[{ content: content(0) }], { profile: 'unixfs-v0-2015' }],
  'empty, version 1': [[{ content: content(0) }], {}],
  'many levels': [[{ content: content(300_000) }], { ...small, layout: balanced({ maxChildrenPerNode: 3 }) }],
  flat: [[{ content: content(200_000) }], { ...small, layout: flat() }],
  trickle: [[{ content: content(300_000) }], { ...small, layout: trickle({ layerRepeat: 2, maxChildrenPerNode: 3 }) }],
  'trickle as kubo': [
    [{ content: content(300_000) }],
    { ...small, rawLeaves: false, leafType: 'raw', reduceSingleLeafToSelf: false, layout: trickle({ layerRepeat: 4 }) }
  ],
  'cut where the content says': [
    [{ content: content(MIB) }], { chunker: rabin({ minChunkSize: 4096, avgChunkSize: 16384, maxChunkSize: 65536 }) }
  ],
  'one block again and again': [[{ content: new Uint8Array(50_000) }], small],
  'data before links': [[{ content: content(9000) }], { ...small, fieldOrder: 'data-first' }],
  'mode and time': [
    [{ path: 'a.sh', content: content(2500), mode: 0o755, mtime: { secs: 1_600_000_000n, nsecs: 5 } }],
    { ...small, wrapWithDirectory: true }
  ],
  folder: [
    [
      { path: 'out.csv', content: content(2500) },
      { path: 'deep/er/log.txt', content: content(10) },
      { path: 'deep/plot.png', content: content(700, 2) },
      { path: 'déjà vu/日本.txt', content: content(30, 3) },
      { path: 'a b%20c?d#e', content: content(31, 4) },
      { path: 'same as out.csv', content: content(2500) },
      { path: 'empty' }, { path: 'empty file', content: content(0) }
    ],
    { ...small, wrapWithDirectory: true }
  ],
  'folder, version 0': [[...files(3), { path: 'x/y', content: content(2000) }], { wrapWithDirectory: true, cidVersion: 0, rawLeaves: false }],
  'an empty folder': [[{ path: 'only' }], {}],
  'large folder': [files(400), sharded],
  'large folder, data before links': [files(60), { ...sharded, fieldOrder: 'data-first' }],
  'large folder of 16 places': [files(300), { ...sharded, shardFanoutBits: 4 }],
  'large folder in a large folder': [[...files(40), ...files(40, 'sub/file')], sharded]
}

async function store (source, options) {
  const blocks = new IdentityBlockstore(new MemoryBlockstore())
  let root
  for await (const entry of importer(source, blocks, options)) root = entry.cid
  return { blocks, root }
}

async function listed (root, blocks) {
  const found = {}
  for await (const entry of recursive(root, blocks)) {
    const path = entry.path.split('/').slice(1).join('/')
    const whole = await exporter(entry.cid, blocks)
    if (path === '') continue
    if (whole.type === 'directory') found[`${path}/`] = null
    else found[path] = sha256(await collected(whole.content()))
  }
  return found
}

async function writeCar (path, root, blocks) {
  const { writer, out } = CarWriter.create([root])
  const done = finished(Readable.from(out).pipe(createWriteStream(path)))
  for await (const { cid, bytes } of blocks.getAll()) await writer.put({ cid, bytes: await collected(bytes) })
  await writer.close()
  await done
}

// What the importer does not make: content inside the CID, another hash, and version 0 named as version 1.
async function specials () {
  const blocks = new IdentityBlockstore(new MemoryBlockstore())
  const bytes = content(100)
  const inline = CID.createV1(raw.code, identity.digest(bytes))
  const emptyFolder = dagPb.encode(dagPb.prepare({ Data: new UnixFS({ type: 'directory' }).marshal(), Links: [] }))
  const long = CID.createV1(raw.code, await sha512.digest(bytes))
  await blocks.put(long, bytes)
  const mixed = dagPb.encode(dagPb.prepare({
    Data: new UnixFS({ type: 'directory' }).marshal(),
    Links: [{ Name: 'inline', Hash: inline, Tsize: 100 }, { Name: 'sha512', Hash: long, Tsize: 100 }]
  }))
  const folder = CID.createV1(dagPb.code, await sha512.digest(mixed))
  await blocks.put(folder, mixed)
  const old = await store([{ content: content(600_000) }], { profile: 'unixfs-v0-2015' })
  return [
    ['inside the CID', inline, blocks],
    ['an empty folder inside the CID', CID.createV1(dagPb.code, identity.digest(emptyFolder)), blocks],
    ['sha2-512', long, blocks],
    ['folder of other hashes', folder, blocks],
    ['version 0 named as version 1', old.root.toV1(), old.blocks]
  ]
}

async function make (folder) {
  const manifest = []
  const all = await specials()
  for (const [name, [source, options]] of Object.entries(cases)) {
    const { blocks, root } = await store(source, options)
    all.push([name, root, blocks])
  }
  for (const [at, [name, root, blocks]] of all.entries()) {
    const entry = await exporter(root, blocks)
    const isFolder = entry.type === 'directory'
    await writeCar(join(folder, `${at}.car`), root, blocks)
    manifest.push({
      name,
      car: `${at}.car`,
      root: root.toString(),
      file: isFolder ? null : sha256(await collected(entry.content())),
      folder: isFolder ? await listed(root, blocks) : null
    })
  }
  await writeFile(join(folder, 'manifest.json'), JSON.stringify(manifest))
}

async function read (gateway, name, format) {
  const root = CID.parse(name)
  const ask = async (cid) => {
    const answer = await fetch(`${gateway}/ipfs/${cid}?format=${format}`)
    if (!answer.ok) throw new Error(`${answer.status} for ${cid}`)
    return answer
  }
  let blocks = { get: async function * (cid) { yield new Uint8Array(await (await ask(cid)).arrayBuffer()) } }
  if (format === 'car') {
    blocks = new IdentityBlockstore(new MemoryBlockstore())
    const car = await CarReader.fromIterable((await ask(root)).body)
    for await (const { cid, bytes } of car.blocks()) await blocks.put(cid, bytes)
  }
  const entry = await exporter(root, blocks)
  const found = entry.type === 'directory' ? await listed(root, blocks) : sha256(await collected(entry.content()))
  console.log(JSON.stringify(found))
}

const [operation, ...rest] = process.argv.slice(2)
await { make, read }[operation](...rest)
