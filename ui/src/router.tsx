import { createRootRoute, createRoute, createRouter } from '@tanstack/react-router'
import { NotFound, Shell } from './components/Shell'
import { Create, Edit } from './pages/Edit'
import { Machine, Machines } from './pages/Machines'
import { Operation, Operations } from './pages/Operations'
import { Overview } from './pages/Overview'
import { Runner, Runners } from './pages/Runners'
import { Source, Sources } from './pages/Sources'
import { Tags } from './pages/Tags'

/** A word of the query, or nothing: whatever a link brings, a page gets what it expects. */
const word = (value: unknown) => (typeof value === 'string' && value !== '' ? value : typeof value === 'number' ? String(value) : undefined)
const oneOf = <T extends string>(value: unknown, words: readonly T[]) => words.find((word) => word === value)

const root = createRootRoute({ component: Shell, notFoundComponent: NotFound })
const at = <P extends string>(path: P) => ({ getParentRoute: () => root, path })

const routes = [
  createRoute({ ...at('/'), component: Overview }),
  createRoute({
    ...at('/machines'),
    component: Machines,
    validateSearch: (search): { name?: string; tag?: string; status?: string } => ({ name: word(search.name), tag: word(search.tag), status: word(search.status) }),
  }),
  createRoute({ ...at('/machines/$node'), component: Machine }),
  createRoute({ ...at('/tags'), component: Tags }),
  createRoute({
    ...at('/runners'),
    component: Runners,
    validateSearch: (search): { name?: string; nodes?: string; state?: string; show?: 'instances' } => ({
      name: word(search.name), nodes: word(search.nodes), state: word(search.state), show: oneOf(search.show, ['instances'] as const),
    }),
  }),
  createRoute({ ...at('/runners/$runner'), component: Runner, validateSearch: (search): { node?: string } => ({ node: word(search.node) }) }),
  createRoute({ ...at('/runners/$runner/edit'), component: Edit }),
  // Not below /runners: a runner may be called `create`.
  createRoute({ ...at('/create'), component: Create, validateSearch: (search): { tag?: string } => ({ tag: word(search.tag) }) }),
  createRoute({
    ...at('/sources'),
    component: Sources,
    validateSearch: (search): { name?: string; runner?: string; nodes?: string; state?: string; show?: 'map' | 'plan' } => ({
      name: word(search.name), runner: word(search.runner), nodes: word(search.nodes), state: word(search.state), show: oneOf(search.show, ['map', 'plan'] as const),
    }),
  }),
  createRoute({ ...at('/sources/$runner/$source'), component: Source }),
  createRoute({
    ...at('/operations'),
    component: Operations,
    validateSearch: (search): { name?: string; open?: boolean } => ({ name: word(search.name), open: search.open === true || undefined }),
  }),
  createRoute({ ...at('/operations/$operation'), component: Operation }),
] as const

export const router = createRouter({ routeTree: root.addChildren(routes), defaultPreload: false })

declare module '@tanstack/react-router' {
  interface Register {
    router: typeof router
  }
}
