// Reads through a gateway with Helia's broker for trustless gateways and Helia's UnixFS: no byte is believed unchecked.
//   node read.mjs GATEWAY CID        every file below the CID: a line of JSON for each, path and SHA-256 of its bytes
//   node read.mjs GATEWAY CID car    the CAR of the CID: roots, blocks that are what they say
//   node read.mjs GATEWAY CID PATH   the names in the directory CID as a list, then SHA-256 of the file at PATH
import { fallbackRouter } from '@helia/fallback-router'
import { trustlessGatewayBlockBroker } from '@helia/trustless-gateway-client'
import { unixfs } from '@helia/unixfs'
import { CarBlockIterator } from '@ipld/car'
import { CID } from 'multiformats/cid'
import { sha256 } from 'multiformats/hashes/sha2'
import { createHash } from 'node:crypto'

const [gateway, text, form] = process.argv.slice(2)
const root = CID.parse(text)

async function check (cid, bytes) {
  const { digest } = await sha256.digest(bytes)
  if (!Buffer.from(digest).equals(Buffer.from(cid.multihash.digest))) throw new Error(`not the bytes of ${cid}`)
}

function quiet () {
  const log = () => {}
  return Object.assign(log, { error: log, trace: log, enabled: false, newScope: quiet })
}

async function car () {
  const answer = await fetch(`${gateway}/ipfs/${root}?format=car`)
  if (!answer.ok) throw new Error(`the status is ${answer.status}`)
  const found = await CarBlockIterator.fromIterable(answer.body)
  let blocks = 0
  for await (const { cid, bytes } of found) {
    await check(cid, bytes)
    blocks++
  }
  console.log(JSON.stringify({ roots: (await found.getRoots()).map(String), blocks }))
}

async function files () {
  const routing = fallbackRouter({ gateways: [gateway] })
  const broker = trustlessGatewayBlockBroker({ allowInsecure: true, allowLocal: true })({
    routing, logger: { forComponent: quiet }
  })
  const blockstore = {
    async * get (cid, options) {
      yield broker.retrieve(cid, { ...options, validateFn: bytes => check(cid, bytes) })
    }
  }
  const fs = unixfs({ blockstore })
  async function walk (cid, path) {
    const { type } = await fs.stat(cid)
    if (type === 'directory') {
      for await (const entry of fs.ls(cid)) await walk(entry.cid, `${path}/${entry.name}`)
      return
    }
    const hash = createHash('sha256')
    for await (const piece of fs.cat(cid)) hash.update(piece)
    console.log(JSON.stringify({ path, sha256: hash.digest('hex') }))
  }
  if (form === undefined) return walk(root, '')
  const names = []
  for await (const entry of fs.ls(root)) names.push(entry.name)
  console.log(JSON.stringify(names))
  const hash = createHash('sha256')
  for await (const piece of fs.cat(root, { path: form })) hash.update(piece)
  console.log(JSON.stringify({ path: form, sha256: hash.digest('hex') }))
}

await (form === 'car' ? car() : files())
