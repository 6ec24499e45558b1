import CRIClient
import CRIModel
import HTTPServer
import JSON
import Kernel
import KubeModel
import Logging
import NodeAgent
import PodTranslation
import Synchronization
import TestSupport
import Testing
import Volumes

/// A runtime that hands out one URL, and remembers what it was asked for.
private final class FakeStreams: StreamingRuntime {
  let url = Mutex("")
  let asked = Mutex<[String]>([])

  private func take(_ text: String) -> String {
    asked.withLock { $0.append(text) }
    return url.withLock { $0 }
  }
  func exec(_ request: CRIExecRequest) async throws(CRIError) -> String {
    take(
      "exec \(request.cmd) stdin=\(request.stdin) stdout=\(request.stdout) stderr=\(request.stderr) tty=\(request.tty)")
  }
  func attach(_ request: CRIAttachRequest) async throws(CRIError) -> String { take("attach tty=\(request.tty)") }
  func portForward(_ request: CRIPortForwardRequest) async throws(CRIError) -> String {
    take("forward \(request.port)")
  }
}

private let admin = HTTPPeer.certificate(commonName: "kube-apiserver-node-client", organizations: ["system:masters"])

private func quiet() -> Logger { Logger(label: "test") { _ in SwiftLogNoOpLogHandler() } }

/// An agent with one running pod, `default/web` with container `c`, and its server.
private func withServer(
  _ body: (NodeServer, FakeStreams, FakeRuntime, _ log: String) async throws -> Void
) async throws {
  let scratch = try TestDirectory()
  let runtime = FakeRuntime()
  let streams = FakeStreams()
  try Files.makeDirectories("\(scratch.path)/manifests")
  let manifest = """
    apiVersion: v1
    kind: Pod
    metadata: {name: web, uid: u1}
    spec: {terminationGracePeriodSeconds: 1, containers: [{name: c, image: "web:1"}]}
    """
  try Files.writeAtomically("\(scratch.path)/manifests/web.yaml", Array(manifest.utf8))
  var settings = NodeAgent.Settings(
    manifests: "\(scratch.path)/manifests", statusFile: "\(scratch.path)/run/status.json")
  settings.relist = .milliseconds(20)
  var facts = NodeFacts(nodeName: "n1")
  facts.logRoot = "\(scratch.path)/logs"
  var tools = NodeTools(
    runtime: runtime, volumes: VolumeStore(root: "\(scratch.path)/volumes"), facts: facts, logger: quiet())
  tools.backoff = BackoffRule(scaledBy: 0.001)
  let agent = NodeAgent(settings: settings, tools: tools) { _, _ in [] }
  let server = NodeServer(agent: agent, runtime: streams, logger: quiet())
  try await withThrowingTaskGroup(of: Void.self) { group in
    group.addTask { try await agent.run() }
    let deadline = ContinuousClock.now + .seconds(10)
    while await agent.status.pods.first?.machine.isReady != true {
      #expect(ContinuousClock.now < deadline)
      try await Task.sleep(for: .milliseconds(5))
    }
    try await body(server, streams, runtime, "\(scratch.path)/logs/default_web_u1/c/0.log")
    group.cancelAll()
    try await group.waitForAll()
  }
  try VolumeMount.detachAll(below: scratch.path)
  try scratch.remove()
}

private func ask(_ server: NodeServer, _ target: String, _ peer: HTTPPeer = admin) async throws -> HTTPResponse {
  await server.respond(to: HTTPRequest(method: "GET", target: try #require(HTTPTarget(target)), peer: peer))
}

private func text(_ response: HTTPResponse) async throws -> String {
  switch response.body {
  case .bytes(let bytes): return String(decoding: bytes, as: UTF8.self)
  case .chunks(let chunks): return String(decoding: chunks.joined(), as: UTF8.self)
  case .stream(let produce):
    let gathered = Mutex<[UInt8]>([])
    try await produce(HTTPBodyWriter { parts in gathered.withLock { $0 += parts.joined() } })
    return String(decoding: gathered.withLock { $0 }, as: UTF8.self)
  case .tunnel: return "(a tunnel)"
  }
}

private func line(_ second: Int, _ text: String, _ stream: String = "stdout", _ tag: String = "F") -> String {
  "2026-01-01T00:00:0\(second).000000000Z \(stream) \(tag) \(text)\n"
}

@Suite struct NodeServerTests {
  @Test func onlyTheClustersOwnAreAnswered() async throws {
    try await withServer { (server, _, _, _) async throws -> Void in
      #expect(try await ask(server, "/pods", .anonymous).status == 401)
      let node = HTTPPeer.certificate(commonName: "system:node:n2", organizations: ["system:nodes"])
      #expect(try await ask(server, "/pods", node).status == 403)
      #expect(try await ask(server, "/containerLogs/default/web/c", node).status == 403)
      #expect(try await ask(server, "/pods").status == 200)
      #expect(try await ask(server, "/healthz", .anonymous).status == 200)
      #expect(try await ask(server, "/nothing").status == 404)
    }
  }

  @Test func everybodyOfTheMachineReadsWhatTheReadOnlyPortShowsAndNothingElse() async throws {
    try await withServer { (server, _, _, _) async throws -> Void in
      func look(_ target: String, _ method: String = "GET") async throws -> HTTPResponse {
        await server.respondReadOnly(
          to: HTTPRequest(method: method, target: try #require(HTTPTarget(target)), peer: .anonymous))
      }
      let list = try JSONValue.parse(try await text(look("/pods")))
      #expect(list["items"]?[0]?["metadata"]?["name"]?.string == "web")
      #expect(try await look("/healthz").status == 200)
      #expect(try await look("/metrics").status == 200)
      for path in ["/containerLogs/default/web/c", "/exec/default/web/c?command=sh", "/attach/default/web/c", "/x"] {
        #expect(try await look(path).status == 404)
      }
      #expect(try await look("/portForward/default/web").status == 404)
      #expect(try await look("/pods", "POST").status == 405)
    }
  }

  @Test func whoAttachesToAContainerThatHasEndedIsSentToItsLog() async throws {
    try await withServer { (server, streams, runtime, log) async throws -> Void in
      let manifest = """
        apiVersion: v1
        kind: Pod
        metadata: {name: once, uid: u2}
        spec: {restartPolicy: Never, containers: [{name: done, image: "job:1"}]}
        """
      let root = log.prefix(log.utf8.count - "/logs/default_web_u1/c/0.log".utf8.count)
      try Files.writeAtomically("\(root)/manifests/once.yaml", Array(manifest.utf8))
      let deadline = ContinuousClock.now + .seconds(10)
      while try await ask(server, "/attach/default/once/done").status == 404, ContinuousClock.now < deadline {
        try await Task.sleep(for: .milliseconds(5))
      }
      runtime.end("done", code: 0)
      while ContinuousClock.now < deadline, try await ask(server, "/exec/default/once/done?command=sh").status != 404 {
        try await Task.sleep(for: .milliseconds(5))
      }
      streams.asked.withLock { $0 = [] }
      #expect(try await ask(server, "/attach/default/once/done").status == 404)
      #expect(streams.asked.withLock { $0 }.isEmpty)
    }
  }

  @Test func itSaysWhatPodsItHas() async throws {
    try await withServer { (server, _, _, _) async throws -> Void in
      let list = try JSONValue.parse(try await text(ask(server, "/pods")))
      #expect(list["items"]?[0]?["metadata"]?["name"]?.string == "web")
      #expect(list["items"]?[0]?["status"]?["phase"]?.string == "Running")
      let metrics = try await text(ask(server, "/metrics"))
      #expect(metrics.contains("kubelet_running_pods 1"))
    }
  }

  @Test(arguments: [
    ("", "one\nerr\nparts\nlast\n"), ("?tailLines=2", "parts\nlast\n"), ("?tailLines=0", ""),
    ("?sinceTime=2026-01-01T00:00:03Z", "parts\nlast\n"), ("?limitBytes=5", "one\ne"), ("?stream=Stderr", "err\n"),
    ("?tailLines=1&timestamps=true", "2026-01-01T00:00:05.000000000Z last\n"),
  ])
  func logsAreReadAsTheyAreAskedFor(_ query: String, _ expected: String) async throws {
    try await withServer { (server, _, _, log) async throws -> Void in
      let content =
        line(1, "one") + line(2, "err", "stderr") + line(3, "par", "stdout", "P") + line(4, "ts") + line(5, "last")
      try Files.writeAtomically(log, Array(content.utf8))
      let response = try await ask(server, "/containerLogs/default/web/c\(query)")
      #expect(response.status == 200)
      #expect(try await text(response) == expected)
    }
  }

  @Test(arguments: [
    ("/containerLogs/default/none/c", 404, "pod \"none\" not found\n"),
    ("/containerLogs/default/web/none", 400, "container none is not valid for pod web\n"),
    (
      "/containerLogs/default/web/c?previous=true", 400,
      "previous terminated container \"c\" in pod \"web\" not found\n"
    ),
    ("/containerLogs/default/web/c?tailLines=x", 400, "tailLines: \"x\" is not a number of at least 0\n"),
    (
      "/containerLogs/default/web/c?sinceTime=soon", 400,
      "sinceTime: \"soon\" is not a time such as 2026-01-31T12:00:00Z\n"
    ),
    ("/exec/default/web/c?output=1", 400, "no command: you must specify at least 1 command\n"),
    ("/exec/default/none/c?command=x", 404, "pod \"none\" not found\n"),
  ])
  func whatCannotBeAnsweredIsRefusedInWords(_ target: String, _ status: Int, _ words: String) async throws {
    try await withServer { (server, _, _, _) async throws -> Void in
      let response = try await ask(server, target)
      #expect(response.status == status)
      #expect(try await text(response) == words)
    }
  }

  @Test func aFollowedLogEndsWithItsContainerAndThePreviousOneStays() async throws {
    try await withServer { (server, _, runtime, log) async throws -> Void in
      try Files.writeAtomically(log, Array(line(1, "first").utf8))
      async let followed = text(ask(server, "/containerLogs/default/web/c?follow=true"))
      try await Task.sleep(for: .milliseconds(150))
      let file = try Files.open(log, flags: OpenFlags.writeOnly | OpenFlags.append)
      try file.writeAll(Array(line(2, "second").utf8))
      try file.close()
      runtime.end("c", code: 1)
      let read = try await followed
      #expect(read == "first\nsecond\n")
      let deadline = ContinuousClock.now + .seconds(10)
      while runtime.starts.count < 2, ContinuousClock.now < deadline { try await Task.sleep(for: .milliseconds(5)) }
      try await Task.sleep(for: .milliseconds(50))
      #expect(
        try await text(ask(server, "/containerLogs/default/web/c?previous=true")) == "first\nsecond\n")
    }
  }

  @Test func streamsAreCarriedRawBothWays() async throws {
    try await withServer { (server, streams, _, _) async throws -> Void in
      // What the runtime listens with: says what it was asked, then echoes.
      let back = try await HTTPServer.bind([.tcp(host: "127.0.0.1", port: 0, tls: nil)], logger: quiet()) { request in
        guard request.path == "/exec/token" else { return .text("gone\n", status: 410) }
        return .upgrade(
          to: request.headers["Upgrade"] ?? "", headers: ["X-Stream-Protocol-Version": "v4.channel.k8s.io"]
        ) { tunnel in
          while let bytes = try await tunnel.read() { try await tunnel.write(bytes) }
          await tunnel.closeWriting()
        }
      }
      let front = try await HTTPServer.bind([.tcp(host: "127.0.0.1", port: 0, tls: nil)], logger: quiet()) { request in
        var request = request
        request.peer = admin
        return await server.respond(to: request)
      }
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { try? await back.run() }
        group.addTask { try? await front.run() }
        streams.url.withLock { $0 = "http://127.0.0.1:\(back.ports[0])/exec/token" }
        let answer = try await HTTPDialer.send(
          method: "POST", target: "/exec/default/web/c?command=ls&command=-l&output=1&error=1",
          headers: ["Connection": "Upgrade", "Upgrade": "SPDY/3.1"], to: .tcp(host: "127.0.0.1", port: front.ports[0]))
        #expect(answer.status == 101)
        #expect(answer.headers["Upgrade"] == "SPDY/3.1")
        #expect(answer.headers["X-Stream-Protocol-Version"] == "v4.channel.k8s.io")
        try await answer.tunnel.write([0, 1, 255])
        let echoed = try await answer.tunnel.read()
        #expect(echoed == [0, 1, 255])
        await answer.tunnel.closeWriting()
        let end = try await answer.tunnel.read()
        #expect(end == nil)
        answer.tunnel.close()
        #expect(
          streams.asked.withLock { $0 } == [#"exec ["ls", "-l"] stdin=false stdout=true stderr=true tty=false"#])
        streams.url.withLock { $0 = "http://127.0.0.1:\(back.ports[0])/other" }
        let refused = try await HTTPDialer.send(
          method: "GET", target: "/portForward/default/web?port=80",
          headers: ["Upgrade": "x", "Connection": "Upgrade"],
          to: .tcp(host: "127.0.0.1", port: front.ports[0]))
        #expect(refused.status == 410)
        refused.tunnel.close()
        #expect(streams.asked.withLock { $0.last } == "forward [80]")
        group.cancelAll()
      }
    }
  }
}
