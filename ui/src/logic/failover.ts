import type { NodeRow } from '../api/client'

/** Where a page is: what of a `Location` counts. */
export type Place = Pick<Location, 'protocol' | 'hostname' | 'port' | 'pathname' | 'search'>

const isLoopback = (host: string) => host === 'localhost' || host === '[::1]' || host === '::1' || /^127\./.test(host)
const hostOf = (address: string) => address.slice(0, address.lastIndexOf(':'))

/**
 * The same page on other nodes, best first: those that live, that do not drain, and that this browser may be able to reach.
 * A node that listens on its own loopback is out of reach, save where this whole cluster is on the browser's machine:
 * then the node that served this page is on loopback for gossip too.
 */
export function others(nodes: NodeRow[], place: Place): { name: string; url: string }[] {
  const me = nodes.find((node) => node.me)
  const isAllHere = isLoopback(place.hostname) && me !== undefined && isLoopback(hostOf(me.gossip))
  const candidates = nodes.filter((node) => {
    if (node.me || node.status !== 'alive' || !node.http) return false
    return !isLoopback(hostOf(node.http)) || (isAllHere && isLoopback(hostOf(node.gossip)))
  })
  candidates.sort((a, b) => Number(a.phase !== 'active') - Number(b.phase !== 'active') || a.name.localeCompare(b.name))
  return candidates.map((node) => ({ name: node.name, url: `${place.protocol}//${node.http}${place.pathname}${place.search}` }))
}

/** What to open by hand where no other address can be reached from here. */
export function elsewhere(nodes: NodeRow[]): string[] {
  return nodes.filter((node) => !node.me && node.status === 'alive').map((node) => `${node.name} (${node.http ?? node.gossip})`)
}
