package import CRIClient
package import CRIModel
package import HTTPServer
internal import JSON
internal import Kernel
internal import KubeModel
package import Logging
internal import Metrics
internal import SwiftProtobuf

/// The calls by which a runtime hands out streams into containers.
package protocol StreamingRuntime: Sendable {
  func exec(_ request: CRIExecRequest) async throws(CRIError) -> String
  func attach(_ request: CRIAttachRequest) async throws(CRIError) -> String
  func portForward(_ request: CRIPortForwardRequest) async throws(CRIError) -> String
  func listPodSandboxStats(_ filter: CRIPodSandboxStatsFilter) async throws(CRIError) -> [CRIPodSandboxStats]
}

extension StreamingRuntime {
  package func listPodSandboxStats(
    _ filter: CRIPodSandboxStatsFilter
  ) async throws(CRIError) -> [CRIPodSandboxStats] {
    throw CRIError(code: .unimplemented, message: "this runtime counts nothing", call: "ListPodSandboxStats")
  }
}

extension CRIClient: StreamingRuntime {}

/// The node's own HTTP server: logs, exec, attach and port-forward for the API server, at the paths where it asks a
/// kubelet for them.
///
/// Only clients with a certificate of the cluster are answered, and of those only the API server and administrators.
package struct NodeServer: Sendable {
  /// Groups and names of certificates that may do everything here.
  package struct Access: Sendable {
    package var groups: Set<String> = ["system:masters"]
    package var names: Set<String> = []

    package init() {}
  }

  let agent: NodeAgent
  let runtime: any StreamingRuntime
  let access: Access
  let logger: Logger
  private let meter = NodeMeter(node: NodeUsage.look())

  package init(agent: NodeAgent, runtime: any StreamingRuntime, access: Access = Access(), logger: Logger) {
    (self.agent, self.runtime, self.access, self.logger) = (agent, runtime, access, logger)
  }

  package func respond(to request: HTTPRequest) async -> HTTPResponse {
    if request.path == "/healthz" { return .text("ok") }
    if let refusal = refusal(request) { return refusal }
    let steps = Self.steps(request)
    switch (steps.first, steps.count) {
    case ("containerLogs", 4): return await logs(request, steps[1], steps[2], steps[3])
    case ("exec", 4), ("exec", 5), ("attach", 4), ("attach", 5):
      return await stream(
        request, attaches: steps[0] == "attach", steps[1], steps[2], container: steps[steps.count - 1])
    case ("portForward", 3), ("portForward", 4): return await forward(request, steps[1], steps[2])
    default: return await look(steps)
    }
  }

  /// What may be read of a node without changing anything or seeing what containers say; for the plain port on the loopback
  /// address, where nobody is asked who he is.
  package func respondReadOnly(to request: HTTPRequest) async -> HTTPResponse {
    guard request.method == "GET" || request.method == "HEAD" else {
      return .text("405 method not allowed\n", status: 405)
    }
    return request.path == "/healthz" ? .text("ok") : await look(Self.steps(request))
  }

  private static func steps(_ request: HTTPRequest) -> [String] {
    request.path.split(separator: "/", omittingEmptySubsequences: true).map(String.init)
  }

  private func look(_ steps: [String]) async -> HTTPResponse {
    switch (steps.first, steps.count) {
    case ("pods", 1): return await pods()
    case ("metrics", 1): return await metrics()
    case ("metrics", 2) where steps[1] == "resource":
      return await figures { Self.metrics($0.resource) }
    case ("metrics", 2) where steps[1] == "cadvisor":
      return await figures { Self.metrics($0.cadvisor) }
    case ("stats", 2) where steps[1] == "summary":
      return await figures {
        HTTPResponse(headers: ["Content-Type": "application/json"], body: .bytes($0.summary.encoded()))
      }
    default: return .text("404 page not found\n", status: 404)
    }
  }

  private func refusal(_ request: HTTPRequest) -> HTTPResponse? {
    switch request.peer {
    case .certificate(let name, let organizations):
      if access.names.contains(name) || !access.groups.isDisjoint(with: organizations) { return nil }
      return .text("Forbidden (user=\(name), verb=\(request.method.lowercased()), resource=nodes)\n", status: 403)
    case .process: return nil
    case .unix(let user, _, _): return user == 0 ? nil : .text("Forbidden\n", status: 403)
    case .anonymous: return .text("Unauthorized\n", status: 401)
    }
  }

  // MARK: what there is

  private func pods() async -> HTTPResponse {
    let pods = await agent.podsNow()
    let list: JSONValue = [
      "kind": "PodList", "apiVersion": "v1", "metadata": [:], "items": .array(pods.map(\.json)),
    ]
    return HTTPResponse(headers: ["Content-Type": "application/json"], body: .bytes(list.encoded()))
  }

  private func figures(_ form: (NodeFigures) -> HTTPResponse) async -> HTTPResponse {
    var pods: [CRIPodSandboxStats]
    do throws(CRIError) {
      pods = try await runtime.listPodSandboxStats(CRIPodSandboxStatsFilter())
    } catch {
      return Self.answer(error)
    }
    var usage = await onFreshThread { NodeUsage.look() }
    meter.measure(&usage, &pods)
    return form(NodeFigures(nodeName: agent.nodeName, node: usage, pods: pods))
  }

  private static func metrics(_ families: [MetricFamily]) -> HTTPResponse {
    HTTPResponse(
      headers: ["Content-Type": MetricFamily.contentType], body: .bytes(Array(MetricFamily.text(families).utf8)))
  }

  /// Names as a kubelet has them.
  private func metrics() async -> HTTPResponse {
    let pods = await agent.podsNow()
    let running = pods.count { $0.status.phase == "Running" }
    let containers = pods.reduce(0) { $0 + $1.status.containerStatuses.count { $0.state.running != nil } }
    let text = """
      # HELP kubelet_running_pods Number of pods that have a running pod sandbox
      # TYPE kubelet_running_pods gauge
      kubelet_running_pods \(running)
      # HELP kubelet_running_containers Number of containers currently running
      # TYPE kubelet_running_containers gauge
      kubelet_running_containers{container_state="running"} \(containers)
      # HELP kubelet_node_name The node's name. The count is always 1.
      # TYPE kubelet_node_name gauge
      kubelet_node_name{node="\(agent.nodeName)"} 1

      """
    return HTTPResponse(headers: ["Content-Type": "text/plain; version=0.0.4"], body: .bytes(Array(text.utf8)))
  }

  // MARK: logs

  private func logs(
    _ request: HTTPRequest, _ namespace: String, _ pod: String, _ container: String
  ) async -> HTTPResponse {
    let wish: LogRequest
    let place: LogPlace
    do throws(NodeRefusal) {
      wish = try LogRequest(request.query, now: SystemClock.wallNanoseconds)
      place = try await agent.logPlace(namespace, pod, container, previous: wish.previous)
    } catch {
      return error.response
    }
    guard wish.follow || Files.exists(place.path) else {
      return .text("log file \(place.path) of container \"\(container)\" is not there\n", status: 404)
    }
    let reader = LogStream(path: place.path, wish: wish)
    let agent = agent
    return HTTPResponse(
      headers: ["Content-Type": "text/plain"],
      body: .stream { writer in
        try await reader.run(hasEnded: { await agent.hasEnded(place) }) { try await writer.write($0) }
      })
  }

  // MARK: streams

  private func stream(
    _ request: HTTPRequest, attaches: Bool, _ namespace: String, _ pod: String, container: String
  ) async -> HTTPResponse {
    let query = request.query
    func flag(_ names: String...) -> Bool { names.contains { ["1", "true"].contains(query[$0] ?? "") } }
    let (input, output, terminal) = (flag("input", "stdin"), flag("output", "stdout"), flag("tty"))
    let errors = flag("error", "stderr") && !terminal
    let url: String
    do {
      // Refused where it has ended: clients then read its log, which an empty stream would keep from them.
      let id = try await agent.runningContainer(namespace, pod, container)
      if attaches {
        url = try await runtime.attach(
          CRIAttachRequest.with {
            $0.containerID = id
            ($0.stdin, $0.stdout, $0.stderr, $0.tty) = (input, output, errors, terminal)
          })
      } else {
        let command = query.all("command")
        guard !command.isEmpty else { return .text("no command: you must specify at least 1 command\n", status: 400) }
        url = try await runtime.exec(
          CRIExecRequest.with {
            $0.containerID = id
            $0.cmd = command
            ($0.stdin, $0.stdout, $0.stderr, $0.tty) = (input, output, errors, terminal)
          })
      }
    } catch {
      return Self.answer(error)
    }
    return await relay(request, to: url)
  }

  private func forward(_ request: HTTPRequest, _ namespace: String, _ pod: String) async -> HTTPResponse {
    let url: String
    do {
      let id = try await agent.runningSandbox(namespace, pod)
      url = try await runtime.portForward(
        CRIPortForwardRequest.with {
          $0.podSandboxID = id
          $0.port = request.query.all("port").compactMap { Int32($0) }
        })
    } catch {
      return Self.answer(error)
    }
    return await relay(request, to: url)
  }

  private static func answer(_ error: any Error) -> HTTPResponse {
    if let refusal = error as? NodeRefusal { return refusal.response }
    guard let error = error as? CRIError else { return .text("\(error)\n", status: 500) }
    switch error.code {
    case .notFound: return .text("\(error.message)\n", status: 404)
    case .invalidArgument: return .text("\(error.message)\n", status: 400)
    case .unimplemented: return .text("\(error.message)\n", status: 501)
    default: return .text("\(error.message)\n", status: 500)
    }
  }

  /// Headers that belong to one connection and are not passed on, but for those of an upgrade.
  private static let ownHeaders: Set<String> = [
    "host", "content-length", "transfer-encoding", "keep-alive", "te", "trailer", "proxy-connection",
  ]
  /// Bytes of a refusal that is passed on.
  private static let refusalBytesMax = 64 << 10

  /// Asks the runtime's own server for the stream and then carries bytes, whatever protocol they are.
  private func relay(_ request: HTTPRequest, to text: String) async -> HTTPResponse {
    guard let place = StreamURL(text) else {
      return .text("the runtime gave \"\(text)\", which is no http:// URL\n", status: 500)
    }
    var headers = HTTPFields()
    for (name, value) in request.headers.fields where !Self.ownHeaders.contains(name.lowercased()) {
      headers.add(name, value)
    }
    let answer: HTTPDialedResponse
    do throws(HTTPDialError) {
      answer = try await HTTPDialer.send(
        method: request.method, target: place.target, headers: headers,
        to: .tcp(host: place.host, port: place.port))
    } catch {
      return .text("the runtime's streams: \(error)\n", status: 502)
    }
    guard answer.status == 101 else {
      var body: [UInt8] = []
      while body.count < Self.refusalBytesMax, let bytes = try? await answer.tunnel.read() { body += bytes }
      answer.tunnel.close()
      return HTTPResponse(
        status: answer.status, headers: ["Content-Type": answer.headers["Content-Type"] ?? "text/plain"],
        body: .bytes(body))
    }
    return HTTPResponse(
      status: 101, headers: answer.headers, body: .tunnel { tunnel in await pipe(tunnel, answer.tunnel) })
  }
}

/// A URL of the runtime's streaming server.
struct StreamURL: Hashable {
  var host: String
  var port: Int
  /// Path and query.
  var target: String

  init?(_ text: String) {
    guard text.hasPrefix("http://") else { return nil }
    let rest = text.dropFirst("http://".count)
    let slash = rest.firstIndex(of: "/") ?? rest.endIndex
    var authority = rest[..<slash]
    target = slash == rest.endIndex ? "/" : String(rest[slash...])
    port = 80
    if let colon = authority.lastIndex(of: ":"), authority[colon...].dropFirst().allSatisfy(\.isNumber) {
      guard let number = Int(authority[colon...].dropFirst()), (1...65_535).contains(number) else { return nil }
      port = number
      authority = authority[..<colon]
    }
    host = String(authority.hasPrefix("[") ? authority.dropFirst().dropLast() : authority)
    if host.isEmpty { return nil }
  }
}
