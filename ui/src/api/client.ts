import createClient, { type Middleware } from 'openapi-fetch'
import type { components, paths } from '../../generated/schema'

export type Schemas = components['schemas']
export type NodeRow = Schemas['NodeRow']
export type SelfRow = Schemas['SelfRow']
export type ClusterRow = Schemas['ClusterRow']
export type TagRow = Schemas['TagRow']
export type RunnerRow = Schemas['RunnerRow']
export type RunnerView = Schemas['RunnerView']
export type RunnerSpec = Schemas['RunnerSpec']
export type InstanceRow = Schemas['InstanceRow']
export type InstanceView = Schemas['InstanceView']
export type SeriesView = Schemas['SeriesView']
export type Point = Schemas['Point']
export type SourceRow = Schemas['SourceRow']
export type SourceView = Schemas['SourceView']
export type OperationRow = Schemas['OperationRow']
export type OperationView = Schemas['OperationView']
export type TargetRow = Schemas['TargetRow']
export type EventRow = Schemas['EventRow']
export type Finding = Schemas['Finding']
export type PlanView = Schemas['PlanView']
export type MoveRow = Schemas['MoveRow']
export type Asked = Schemas['Asked']
export type Written = Schemas['Written']
export type Problem = Schemas['Problem']
export type TapRow = Schemas['TapRow']
export type Tried = Schemas['Tried']
export type TryBody = Schemas['Try']
export type RewindPreview = Schemas['RewindPreview']
export type QueuePreview = Schemas['QueuePreview']
export type RunnerVerb = Schemas['RunnerVerb']

/** Why a request did not come to an answer that can be shown. Without a problem document, no node answered at all. */
export class Failure extends Error {
  readonly problem: Problem | undefined
  constructor(problem: Problem | undefined, cause?: unknown) {
    super(problem?.detail ?? String(cause), { cause })
    this.problem = problem
  }
}

const TOKEN = 'logvine.token'
/** The token lives as long as the tab: a shared machine's next user must not find it. */
export const token = {
  get: () => sessionStorage.getItem(TOKEN) ?? '',
  set: (value: string) => sessionStorage.setItem(TOKEN, value),
}

export const authorization = (): Record<string, string> => (token.get() ? { authorization: `Bearer ${token.get()}` } : {})

const withToken: Middleware = {
  onRequest({ request }) {
    for (const [name, value] of Object.entries(authorization())) request.headers.set(name, value)
    return request
  },
}

export const api = createClient<paths>({ baseUrl: '' })
api.use(withToken)

/** An answer's data, or a [`Failure`]. */
export async function ask<T>(call: Promise<{ data?: T; error?: unknown; response: Response }>): Promise<T> {
  let answer
  try {
    answer = await call
  } catch (cause) {
    throw new Failure(undefined, cause)
  }
  if (answer.data !== undefined) return answer.data
  throw new Failure(asProblem(answer.error, answer.response.status))
}

/** A problem document as it came; what is none (a proxy's page) is made one. */
export function asProblem(said: unknown, status: number): Problem {
  if (typeof said === 'object' && said !== null && 'detail' in said && 'action' in said) return said as Problem
  return { type: 'about:blank', title: `HTTP ${status}`, status, detail: `HTTP ${status}`, action: '' }
}

/** Rows on a page: the most that a node gives at once. */
export const PAGE = 1000

/** All pages of a list. For lists that are small by nature: nodes, tags, runners. */
export async function all<T>(page: (cursor: string | undefined) => Promise<{ items: T[]; next_cursor?: string | null }>): Promise<T[]> {
  const rows: T[] = []
  let cursor: string | undefined
  do {
    const next = await page(cursor)
    rows.push(...next.items)
    cursor = next.next_cursor ?? undefined
  } while (cursor)
  return rows
}
