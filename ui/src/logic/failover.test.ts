import { expect, test } from 'vitest'
import type { NodeRow } from '../api/client'
import { elsewhere, others } from './failover'

const node = (name: string, ip: string, http: string | null, rest: Partial<NodeRow> = {}): NodeRow => ({
  id: name, name, me: false, status: 'alive', phase: 'active', tags: [], tags_revision: '0', gossip: `${ip}:7946`, quic: `${ip}:7947`, generation: '1', capacity: 0,
  runners: 0, sources: 0, load_bytes_per_s: 0, load_pct: 0, http, ...rest,
})
const place = (hostname: string) => ({ protocol: 'http:', hostname, port: '7948', pathname: '/sources', search: '?runner=fleet' })

test('the page goes on at the same place on a node that lives', () => {
  const nodes = [
    node('a', '10.0.0.1', '10.0.0.1:7948', { me: true }),
    node('b', '10.0.0.2', '10.0.0.2:7948', { status: 'down' }),
    node('c', '10.0.0.3', '10.0.0.3:7948', { phase: 'draining' }),
    node('d', '10.0.0.4', '10.0.0.4:7948'),
  ]
  expect(others(nodes, place('10.0.0.1'))).toEqual([
    { name: 'd', url: 'http://10.0.0.4:7948/sources?runner=fleet' },
    { name: 'c', url: 'http://10.0.0.3:7948/sources?runner=fleet' },
  ])
})

test("another machine's loopback is not taken for this one's", () => {
  // Through a tunnel: the browser says localhost, the nodes are on machines of their own.
  const nodes = [node('a', '10.0.0.1', '127.0.0.1:7948', { me: true }), node('b', '10.0.0.2', '127.0.0.1:7948')]
  expect(others(nodes, place('localhost'))).toEqual([])
  expect(elsewhere(nodes)).toEqual(['b (127.0.0.1:7948)'])
})

test('a cluster on one machine is reached by its loopback addresses', () => {
  const nodes = [node('a', '127.0.0.1', '127.0.0.1:7948', { me: true }), node('b', '127.0.0.2', '127.0.0.2:7948')]
  expect(others(nodes, place('127.0.0.1')).map((other) => other.name)).toEqual(['b'])
  expect(others(nodes, place('10.9.9.9'))).toEqual([])
})
