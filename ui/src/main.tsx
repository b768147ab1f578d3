import '@mantine/core/styles.css'
import './console.css'
import { MantineProvider } from '@mantine/core'
import { QueryClient, QueryClientProvider } from '@tanstack/react-query'
import { RouterProvider } from '@tanstack/react-router'
import { setNonce } from 'get-nonce'
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { Failure } from './api/client'
import { WordsProvider } from './components/words'
import { router } from './router'
import { theme, variables } from './theme'

const client = new QueryClient({
  defaultOptions: {
    queries: {
      // What a node has judged, it judges the same a second later.
      retry: (failures, error) => failures < 2 && !(error instanceof Failure && error.problem !== undefined && error.problem.status < 500),
      staleTime: 1000,
    },
  },
})

/** The nonce that this answer's policy allows; Mantine's style elements carry it. */
const nonce = document.querySelector<HTMLMetaElement>('meta[property=csp-nonce]')?.nonce ?? ''
// A dialog keeps the page behind it from scrolling by a style element of its own (react-style-singleton).
setNonce(nonce)

const root = document.getElementById('root')
if (root)
  createRoot(root).render(
    <StrictMode>
      <MantineProvider theme={theme} cssVariablesResolver={variables} defaultColorScheme="auto" getStyleNonce={() => nonce}>
        <WordsProvider>
          <QueryClientProvider client={client}>
            <RouterProvider router={router} />
          </QueryClientProvider>
        </WordsProvider>
      </MantineProvider>
    </StrictMode>,
  )
