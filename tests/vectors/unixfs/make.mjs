// Makes unixfs.json: the CIDs that js-ipfs-unixfs gives to inputs which are described in it (README.md).
import { murmur3128 } from '@multiformats/murmur3'
import { MemoryBlockstore } from 'blockstore-core'
import { importer } from 'ipfs-unixfs-importer'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import { balanced } from 'ipfs-unixfs-importer/layout'
import { writeFileSync } from 'node:fs'

const MIB = 1024 * 1024

// The bytes of a file: its kilobyte number k is k as four bytes, most significant first, 256 times.
function * pattern (size) {
  for (let k = 0; size > 0; k++) {
    const unit = Buffer.alloc(4)
    unit.writeUInt32BE(k)
    const chunk = Buffer.alloc(Math.min(1024, size), unit)
    size -= chunk.length
    yield chunk
  }
}

async function * zeros (size) {
  for (; size > 0; size -= MIB) yield Buffer.alloc(Math.min(MIB, size))
}

// Keeps nothing but the names of what is not a leaf.
class NodeNames extends MemoryBlockstore {
  names = new Set()

  put (cid) {
    if (cid.code === 0x70) this.names.add(cid.toString())
    return cid
  }
}

async function run (candidates, options) {
  const blockstore = new NodeNames()
  let root
  for await (const entry of importer(candidates, blockstore, { profile: 'unixfs-v1-2025', ...options })) root = entry
  const names = [...blockstore.names].sort()
  return { root: root.cid.toString(), dag_size: Number(root.size), dag_pb_blocks: names.length, blocks: names.slice(0, 4) }
}

async function file (name, size, { content = 'pattern', chunk_bytes = MIB, links_max = 1024 } = {}) {
  const source = content === 'zeros' ? zeros(size) : pattern(size)
  const options = { chunker: fixedSize({ chunkSize: chunk_bytes }), layout: balanced({ maxChildrenPerNode: links_max }) }
  return { name, size, content, chunk_bytes, links_max, ...await run([{ content: source }], options) }
}

// Entries are [path] for a directory, [path, size] for a file of the pattern, [path, 'target'] for a symbolic link.
async function directory (name, entries, described = { entries }) {
  const candidates = entries.map(([path, what]) => {
    if (what === undefined) return { path }
    return typeof what === 'string' ? { path, link: what } : { path, content: pattern(what) }
  })
  return { name, ...described, ...await run(candidates, { wrapWithDirectory: true }) }
}

// `count` files of one byte, in order named by a number with so many digits, then one more of a name of 'z'.
function numbered (count, digits, last) {
  const entries = Array.from({ length: count }, (_, i) => [String(i).padStart(digits, '0'), 1])
  if (last) entries.push(['z'.repeat(last), 1])
  return [entries, { numbered: { count, digits, last } }]
}

// Pairs of names whose hashes begin alike in 32 bits: they share shards four levels deep.
async function alike () {
  const met = new Map()
  const pairs = []
  for (let number = 0; pairs.length < 2; number++) {
    const name = `name ${number}`
    const digest = await murmur3128.encode(new TextEncoder().encode(name))
    const prefix = Buffer.from(digest.slice(0, 4)).toString('hex')
    if (met.has(prefix)) pairs.push(met.get(prefix), name)
    met.set(prefix, name)
  }
  return pairs
}

const deep = (await alike()).map(name => [name, 1])

const vectors = {
  murmur3: [],
  files: [
    await file('empty', 0),
    await file('one byte', 1),
    await file('a byte less than one chunk', MIB - 1),
    await file('one chunk', MIB),
    await file('one chunk and a byte', MIB + 1),
    await file('three chunks', 3 * MIB),
    await file('zeros', 5 * MIB, { content: 'zeros' }),
    await file('a full node', 1024 * 64, { chunk_bytes: 64 }),
    await file('a full node and a leaf', 1025 * 64, { chunk_bytes: 64 }),
    await file('two levels, the last cut', 2050 * 64 + 7, { chunk_bytes: 64 }),
    await file('a narrow tree, full', 64 * 10, { chunk_bytes: 10, links_max: 4 }),
    await file('a narrow tree, four levels', 65 * 10, { chunk_bytes: 10, links_max: 4 }),
    await file('a narrow tree, ragged', 333 * 10 + 3, { chunk_bytes: 10, links_max: 4 }),
    await file('1025 chunks of zeros', 1025 * MIB, { content: 'zeros' })
  ],
  directories: [
    await directory('one empty directory', [['empty']]),
    await directory('small', [['b.txt', 3], ['a', 0], ['c', 2 * MIB + 5]]),
    await directory('nested', [['a/b/c/deep', 10], ['a/b/file', 20], ['a/empty'], ['a.txt', 30], ['a0', 1]]),
    await directory('unicode', [['naïve', 1], ['日本語', 2], ['🎉', 3], ['\uFFFD', 4], ['e\u0301', 5], ['é', 6], ['Ω/ß', 7]]),
    await directory('symbolic links', [['link', '../target'], ['sub/abs', '/etc/hostname'], ['utf', 'ü/日']]),
    await directory('exactly 256 KiB', ...numbered(5040, 8, 16)),
    await directory('a byte over 256 KiB', ...numbered(5040, 8, 17)),
    await directory('shards within shards', numbered(5040, 8, 17)[0].concat(deep), { entries: deep, ...numbered(5040, 8, 17)[1] }),
    await directory('10,000 entries', ...numbered(10000, 6, 0)),
    await directory('sharded, in a directory', numbered(6000, 9, 0)[0].map(([name, size]) => [`big/${name}`, size])
      .concat([['small', 1]]), { within: 'big', numbered: { count: 6000, digits: 9, last: 0 }, entries: [['small', 1]] })
  ]
}

for (const text of ['', 'a', 'abcdefgh', 'abcdefghi', '0123456789abcdef', '0123456789abcdefg', '日本語🎉'.repeat(9)]) {
  const digest = await murmur3128.encode(new TextEncoder().encode(text))
  vectors.murmur3.push({ text, hash: Buffer.from(digest.slice(0, 8)).toString('hex') })
}
writeFileSync(process.argv[2] ?? 'unixfs.json', JSON.stringify(vectors, null, 1) + '\n')
