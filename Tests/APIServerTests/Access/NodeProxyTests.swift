import HTTPServer
import JSON
import Kernel
import Logging
import PKI
import Synchronization
import TestSupport
import Testing

@testable import APIServer

private let pod: JSONValue = [
  "metadata": ["name": "web", "namespace": "ns"],
  "spec": ["nodeName": "n1", "containers": [["name": "a"]], "initContainers": [["name": "setup"]]],
]
private let two: JSONValue = ["spec": ["nodeName": "n1", "containers": [["name": "a"], ["name": "b"]]]]

private func node(port: Int = 10250) -> JSONValue {
  [
    "status": [
      "addresses": [["type": "Hostname", "address": "n1"], ["type": "InternalIP", "address": "127.0.0.1"]],
      "daemonEndpoints": ["kubeletEndpoint": ["Port": .integer(Int64(port))]],
    ]
  ]
}

@Suite struct NodeRoutes {
  private func plan(
    _ subresource: String, _ query: HTTPQuery = [:], pod value: JSONValue? = pod
  ) throws(AccessRefusal) -> NodeRoute? {
    try NodeRoute.plan(
      subresource: subresource, namespace: "ns", name: "web", query: query, pod: value,
      node: { $0 == "n1" ? node() : .none })
  }

  @Test func aLogIsAskedForWithItsOptions() throws {
    let route = try plan(
      "log",
      [
        "follow": "true", "tailLines": "0", "timestamps": "true", "previous": "false", "sinceSeconds": "5",
        "limitBytes": "10", "pretty": "true",
      ])
    #expect(route?.path == "/containerLogs/ns/web/a")
    #expect(
      route?.query
        == ["follow": "true", "timestamps": "true", "sinceSeconds": "5", "tailLines": "0", "limitBytes": "10"])
    #expect(route?.host == "127.0.0.1" && route?.port == 10250 && route?.nodeName == "n1")
  }

  @Test func execKeepsTheWordsOfItsCommandInOrder() throws {
    let route = try plan(
      "exec",
      ["command": "sh", "command": "-c", "command": "echo a & b", "stdin": "true", "stdout": "1", "container": "setup"])
    #expect(route?.path == "/exec/ns/web/setup")
    #expect(
      route?.query
        == ["input": "1", "output": "1", "command": "sh", "command": "-c", "command": "echo a & b"])
  }

  @Test func attachAndPortForward() throws {
    #expect(try plan("attach", ["tty": "true", "stdout": "true"])?.path == "/attach/ns/web/a")
    let forward = try plan("portforward", ["ports": "80"])
    #expect(forward?.path == "/portForward/ns/web" && forward?.query == ["port": "80"])
  }

  static let badOptions: [(String, HTTPQuery, String, Int)] = [
    ("log", ["container": "x"], "container x is not valid for pod web", 400),
    (
      "log", ["tailLines": "-1"],
      "PodLogOptions \"web\" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0", 422
    ),
    (
      "log", ["sinceSeconds": "0"],
      "PodLogOptions \"web\" is invalid: sinceSeconds: Invalid value: 0: must be greater than 0", 422
    ),
    ("log", ["tailLines": "x"], "strconv.ParseInt: parsing \"x\": invalid syntax", 400),
    ("log", ["follow": "maybe"], "strconv.ParseBool: parsing \"maybe\": invalid syntax", 400),
    (
      "log", ["sinceSeconds": "1", "sinceTime": "2026-01-01T00:00:00Z"],
      "PodLogOptions \"web\" is invalid: Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified", 422
    ),
    ("proxy", [:], "pods/proxy \"web\" not found", 404),
  ]

  @Test(arguments: badOptions)
  func badOptionsAreRefused(_ subresource: String, _ query: HTTPQuery, _ message: String, _ code: Int) {
    let refusal = #expect(throws: AccessRefusal.self) { _ = try plan(subresource, query) }
    #expect(refusal?.message == message)
    #expect(refusal?.code == code)
  }

  @Test func oneOfSeveralContainersMustBeNamed() {
    let refusal = #expect(throws: AccessRefusal.self) { _ = try plan("log", pod: two) }
    #expect(refusal?.message == "a container name must be specified for pod web, choose one of: [a b]")
  }

  @Test func whatIsNotThereIsNotFound() {
    #expect(throws: AccessRefusal.notFound("pods", "web")) { _ = try plan("log", pod: nil) }
    let lost: JSONValue = ["spec": ["nodeName": "n9", "containers": [["name": "a"]]]]
    #expect(throws: AccessRefusal.notFound("nodes", "n9")) { _ = try plan("exec", pod: lost) }
  }

  @Test func aPodWithoutANodeHasAnEmptyLogAndNothingToRunIn() throws {
    let waiting: JSONValue = ["spec": ["containers": [["name": "a"]]]]
    #expect(try plan("log", pod: waiting) == nil)
    let refusal = #expect(throws: AccessRefusal.self) { _ = try plan("exec", pod: waiting) }
    #expect(refusal?.message == "pod web does not have a host assigned")
  }
}

/// A node's server with a certificate of the cluster, which answers as the test says.
private func withNode<Result: Sendable>(
  handler: @escaping HTTPServer.Handler, _ body: @Sendable (NodeProxy) async throws -> Result
) async throws -> Result {
  let directory = try TestDirectory()
  defer { try? directory.remove() }
  let pki = try ClusterPKI.open(directory.path, names: ServerNames(advertiseAddress: "127.0.0.1"))
  let serving = try pki.node("n1", addresses: []).serving
  let tls = try HTTPTLS(
    HTTPTLSIdentity(
      certificateChain: serving.certificate, privateKey: serving.privateKey, authorities: pki.authority))
  let server = try await HTTPServer.bind(
    [.tcp(host: "127.0.0.1", port: 0, tls: tls)], logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
    handler: handler)
  let task = Task { try await server.run() }
  let port = server.ports[0]
  let objects = ["/pods/ns/web": pod, "/nodes/n1": node(port: port)]
  let proxy = NodeProxy(reader: ObjectReader(object: { objects[$0] }, objects: { _ in [] })) {
    HTTPDialIdentity(
      authorities: pki.authority, certificateChain: pki.nodeClient.certificate, privateKey: pki.nodeClient.privateKey)
  }
  let result: Swift.Result<Result, any Error>
  do { result = .success(try await body(proxy)) } catch { result = .failure(error) }
  task.cancel()
  _ = await task.result
  return try result.get()
}

private func ask(_ target: String, upgrade: Bool = false) throws -> HTTPRequest {
  let headers: HTTPFields = [
    "Connection": "Upgrade", "Upgrade": "SPDY/3.1", "X-Stream-Protocol-Version": "v4.channel.k8s.io",
  ]
  return HTTPRequest(
    method: "POST", target: try #require(HTTPTarget(target)), headers: upgrade ? headers : [:], peer: .process)
}

@Suite(.timeLimit(.minutes(1))) struct ThroughTheNode {
  @Test func aLogStreamsFromTheNodeThatKnowsTheServer() async throws {
    try await withNode(handler: { request in
      guard case .certificate("kube-apiserver-node-client", _) = request.peer else { return .text("no", status: 401) }
      let path = request.target.raw
      return HTTPResponse(
        body: .stream { writer in
          try await writer.write(Array("\(path)\n".utf8))
          try await writer.write(Array("second\n".utf8))
        })
    }) { proxy in
      let answer = await proxy.respond(to: try ask("/x?tailLines=2"), namespace: "ns", pod: "web", subresource: "log")
      #expect(answer.status == 200 && answer.headers["content-type"] == "text/plain")
      let text = String(decoding: try await answer.reader().collect(), as: UTF8.self)
      #expect(text == "/containerLogs/ns/web/a?tailLines=2\nsecond\n")
    }
  }

  @Test func aFollowedLogEndsOnTheNodeWhenItsReaderLeaves() async throws {
    let ended = Atomic<Bool>(false)
    try await withNode(handler: { _ in
      HTTPResponse(
        body: .stream { writer in
          defer { ended.store(true, ordering: .sequentiallyConsistent) }
          try await writer.write(Array("line\n".utf8))
          try await Task.sleep(for: .seconds(60))
        })
    }) { proxy in
      let answer = await proxy.respond(to: try ask("/x?follow=1"), namespace: "ns", pod: "web", subresource: "log")
      let reader = answer.reader()
      #expect(try await reader.next() == Array("line\n".utf8))
      reader.cancel()
      for _ in 0..<500 where !ended.load(ordering: .sequentiallyConsistent) {
        try await Task.sleep(for: .milliseconds(10))
      }
      let hasEnded = ended.load(ordering: .sequentiallyConsistent)
      #expect(hasEnded)
    }
  }

  @Test(arguments: [
    (
      400, "previous terminated container \"a\" in pod \"web\" not found\n", 400, "BadRequest",
      "previous terminated container \"a\" in pod \"web\" not found"
    ),
    (500, "broken\n", 500, "InternalError", "Internal error occurred: broken"),
    (
      401, "Unauthorized\n", 500, "InternalError", "Internal error occurred: the node refused this server: Unauthorized"
    ),
  ])
  func aNodesRefusalBecomesAStatus(
    _ status: Int, _ text: String, _ code: Int, _ reason: String, _ message: String
  ) async throws {
    try await withNode(handler: { _ in .text(text, status: status) }) { proxy in
      let answer = await proxy.respond(to: try ask("/x"), namespace: "ns", pod: "web", subresource: "log")
      let document = try JSONValue.parse(try await answer.reader().collect())
      #expect(answer.status == code && document["code"]?.integer == Int64(code))
      #expect(document["reason"]?.string == reason && document["message"]?.string == message)
    }
  }

  @Test func aNodeThatIsAwayIsNamed() async throws {
    let objects = ["/pods/ns/web": pod, "/nodes/n1": node(port: 1)]
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    let pki = try ClusterPKI.open(directory.path, names: ServerNames(advertiseAddress: "127.0.0.1"))
    let proxy = NodeProxy(reader: ObjectReader(object: { objects[$0] }, objects: { _ in [] })) {
      HTTPDialIdentity(authorities: pki.authority)
    }
    let answer = await proxy.respond(to: try ask("/x"), namespace: "ns", pod: "web", subresource: "log")
    let document = try JSONValue.parse(try await answer.reader().collect())
    #expect(answer.status == 500)
    #expect(document["message"]?.string?.hasPrefix("error dialing backend: dial 127.0.0.1:1: ") == true)
  }

  @Test func execWithoutAnUpgradeIsRefused() async throws {
    try await withNode(handler: { _ in .text("") }) { proxy in
      let answer = await proxy.respond(to: try ask("/x"), namespace: "ns", pod: "web", subresource: "exec")
      #expect(answer.status == 400)
      #expect(try JSONValue.parse(try await answer.reader().collect())["message"] == "Upgrade request required")
    }
  }

  @Test func anUpgradeIsPipedAsItIs() async throws {
    try await withNode(handler: { request in
      #expect(request.headers["x-stream-protocol-version"] == "v4.channel.k8s.io")
      #expect(request.path == "/exec/ns/web/a" && request.query.all("command") == ["cat", "a b"])
      return .upgrade(to: "SPDY/3.1", headers: ["X-Stream-Protocol-Version": "v4.channel.k8s.io"]) { tunnel in
        while let bytes = try await tunnel.read() { try await tunnel.write(bytes.reversed()) }
      }
    }) { proxy in
      let server = try await HTTPServer.bind(
        [.tcp(host: "127.0.0.1", port: 0, tls: nil)], logger: Logger(label: "t") { _ in SwiftLogNoOpLogHandler() }
      ) { await proxy.respond(to: $0, namespace: "ns", pod: "web", subresource: "exec") }
      let task = Task { try await server.run() }
      let dialed = try await HTTPDialer.send(
        method: "POST", target: "/x?command=cat&command=a%20b&stdin=1",
        headers: ["Connection": "Upgrade", "Upgrade": "SPDY/3.1", "X-Stream-Protocol-Version": "v4.channel.k8s.io"],
        to: .tcp(host: "127.0.0.1", port: server.ports[0]))
      #expect(dialed.status == 101 && dialed.headers["x-stream-protocol-version"] == "v4.channel.k8s.io")
      try await dialed.tunnel.write(Array("abc".utf8))
      #expect(try await dialed.tunnel.read() == Array("cba".utf8))
      await dialed.tunnel.closeWriting()
      #expect(try await dialed.tunnel.read() == nil)
      dialed.tunnel.close()
      task.cancel()
      _ = await task.result
    }
  }

  @Test func aRefusedUpgradeComesBackInTheNodesWords() async throws {
    try await withNode(handler: { _ in .text("container not found (\"a\")\n", status: 404) }) { proxy in
      let answer = await proxy.respond(
        to: try ask("/x", upgrade: true), namespace: "ns", pod: "web", subresource: "exec")
      #expect(answer.status == 404)
      #expect(String(decoding: try await answer.reader().collect(), as: UTF8.self) == "container not found (\"a\")\n")
    }
  }
}
