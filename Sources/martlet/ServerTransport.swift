import HTTPServer
import KubeClient

/// The way of the scheduler and the controllers to the API server in the same process: no socket, no certificate, the
/// same requests. The API server bounds the time of what it is asked, so nothing else does here.
enum ServerTransport {
  static func make(_ respond: @escaping @Sendable (HTTPRequest) async -> HTTPResponse) -> KubeTransport {
    KubeTransport { request throws(KubeError) in
      var query = HTTPQuery()
      for (name, value) in request.query { query.add(name, value) }
      let asked = HTTPRequest(
        method: request.method.rawValue, target: HTTPTarget(path: request.path, query: query),
        headers: HTTPFields(request.headers), body: request.body, peer: .process)
      let response = await respond(asked)
      let reader = response.reader()
      return KubeResponse(
        status: response.status, headers: response.headers.fields,
        body: KubeBody(
          next: { () throws(KubeError) in
            do throws(HTTPBodyError) {
              return try await reader.next()
            } catch {
              throw KubeError(.connection(wasSent: true), message: "\(error)", call: request.call)
            }
          }, cancel: { reader.cancel() }))
    }
  }
}
