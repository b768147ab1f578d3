import { useQuery } from '@tanstack/react-query'
import type { NodeRow } from '../api/client'
import { nodes } from '../api/queries'

const NOBODY: ReadonlyMap<string, string> = new Map()
const byId = (rows: NodeRow[]): ReadonlyMap<string, string> => new Map(rows.map((node) => [node.id, node.name]))

/** The names of the nodes that are known, by id. */
export const useNames = () => useQuery({ ...nodes, select: byId }).data ?? NOBODY
