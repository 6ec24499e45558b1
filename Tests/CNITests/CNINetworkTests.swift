import JSON
import Kernel
import Logging
import Synchronization
import TestSupport
import Testing

@testable import CNI

/// Programs that answer as they are told, without any being run.
final class FakePlugins: Sendable {
  struct Call: Sendable {
    var plugin: String
    var command: String
    var input: JSONValue
  }
  struct State: Sendable {
    var calls: [Call] = []
    var failing: [String: (code: Int32, output: String)] = [:]
    var hanging: Set<String> = []
    var versions = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]
    var running = 0
    var runningMost = 0
  }
  let state = Mutex(State())

  var runner: CNIPlugins.Runner {
    { path, environment, input async throws(CNIPlugins.RunError) in
      let plugin = Files.name(of: path)
      let command = environment.first { $0.hasPrefix("CNI_COMMAND=") }?.dropFirst("CNI_COMMAND=".count) ?? ""
      let parsed = (try? JSONValue.parse(input)) ?? .null
      self.state.withLock { state in
        state.calls.append(Call(plugin: plugin, command: String(command), input: parsed))
        state.running += 1
        state.runningMost = max(state.runningMost, state.running)
      }
      await Task.yield()
      defer { self.state.withLock { $0.running -= 1 } }
      let (failure, hangs, versions) = self.state.withLock {
        ($0.failing["\(command) \(plugin)"], $0.hanging.contains("\(command) \(plugin)"), $0.versions)
      }
      if hangs { throw .timedOut }
      if let failure { return Self.outcome(failure.code, failure.output) }
      switch command {
      case "VERSION":
        return Self.outcome(0, JSONValue(["supportedVersions": JSONValue(versions)] as JSONObject).encodedString())
      case "ADD":
        var result = parsed["prevResult"]?.object ?? ["cniVersion": "1.0.0", "ips": [["address": "10.9.0.2/24"]]]
        result["by-\(plugin)"] = true
        return Self.outcome(0, JSONValue.object(result).encodedString())
      default: return Self.outcome(0, "")
      }
    }
  }

  static func outcome(_ code: Int32, _ output: String) -> CNIPlugins.Answer {
    CNIPlugins.Answer(status: code, output: Array(output.utf8), errorOutput: [])
  }

  func commands(_ names: Set<String> = ["ADD", "DEL", "CHECK", "GC", "STATUS"]) -> [String] {
    state.withLock { $0.calls.filter { names.contains($0.command) }.map { "\($0.command) \($0.plugin)" } }
  }
}

extension JSONValue { fileprivate init(_ object: JSONObject) { self = .object(object) } }

@Suite struct CNINetworkTests {
  static func id(_ number: Int) -> String {
    let text = String(number, radix: 16)
    return String(repeating: "0", count: 64 - text.count) + text
  }

  /// A network in a directory of its own, with programs named `one`, `two` and `three`.
  static func network(
    _ directory: TestDirectory, _ fake: FakePlugins, version: String = "1.1.0", configured: Bool = true
  ) throws -> CNINetwork {
    for part in ["bin", "net.d"] { try Files.makeDirectories("\(directory.path)/\(part)") }
    for name in ["one", "two", "three"] { try Files.writeAtomically("\(directory.path)/bin/\(name)", []) }
    if configured { try configure(directory, "10-a.conflist", version) }
    return CNINetwork(
      setup: .init(
        configurationDirectory: "\(directory.path)/net.d", pluginDirectories: ["/nowhere", "\(directory.path)/bin"],
        recordsDirectory: "\(directory.path)/records", namespacesDirectory: "\(directory.path)/ns"),
      log: Logger(label: "test"), runner: fake.runner)
  }

  static func configure(
    _ directory: TestDirectory, _ file: String, _ version: String, _ plugins: [String] = ["one", "two"]
  )
    throws
  {
    let list: JSONValue = [
      "cniVersion": .string(version), "name": "net-a", "plugins": .array(plugins.map { ["type": .string($0)] }),
    ]
    try Files.writeAtomically("\(directory.path)/net.d/\(file)", list.encoded())
  }

  @Test func `Plugins run in order for ADD and backwards for DEL, and the result survives a restart`() async throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    let fake = FakePlugins()
    let network = try Self.network(directory, fake)
    _ = try await network.start(known: [])
    let first = try await network.attach(Self.id(1), CNIAttachment())
    #expect(first.ipv4 == "10.9.0.2")
    #expect(try await network.attach(Self.id(1), CNIAttachment()) == first)
    _ = try await network.attach(Self.id(2), CNIAttachment())

    let again = try Self.network(directory, fake)
    // The file changed meanwhile: what is there is taken down by what made it.
    try Self.configure(directory, "10-a.conflist", "1.1.0", ["three"])
    fake.state.withLock { $0.calls = [] }
    let recovery = try await again.start(known: [Self.id(1), Self.id(7)])
    #expect(recovery.adopted == [Self.id(1)] && recovery.removed == [Self.id(2)] && recovery.lost.isEmpty)
    #expect(fake.commands() == ["DEL two", "DEL one", "GC three"])
    #expect(try await again.attach(Self.id(1), CNIAttachment()) == first)
    let kept = fake.state.withLock { $0.calls.last?.input["cni.dev/valid-attachments"]?[0]?["containerID"] }
    #expect(kept == .string(Self.id(1)))
    let previous = fake.state.withLock { $0.calls.first { $0.command == "DEL" }?.input["prevResult"] }
    #expect(previous?["by-one"] == true && previous?["by-two"] == true)
    try await again.check(Self.id(1))
    try await again.detach(Self.id(1))
    try await again.detach(Self.id(1))
    #expect(fake.commands(["CHECK", "DEL"]).suffix(4) == ["CHECK one", "CHECK two", "DEL two", "DEL one"])
    #expect(try Directory(path: "\(directory.path)/records").list().isEmpty)
    #expect(try Directory(path: "\(directory.path)/ns").list().isEmpty)
  }

  @Test func `A plugin that fails is named with its code and words, and what was made is undone`() async throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    let fake = FakePlugins()
    let network = try Self.network(directory, fake)
    _ = try await network.start(known: [])
    fake.state.withLock {
      $0.calls = []
      $0.failing["ADD two"] = (
        1, #"{"cniVersion": "1.1.0", "code": 11, "msg": "no addresses", "details": "pool is full"}"#
      )
    }
    let error = await #expect(throws: CNIError.self) { try await network.attach(Self.id(1), CNIAttachment()) }
    #expect(
      error?.description
        == "CNI ADD of network net-a, plugin two: code 11: no addresses; pool is full (asks to be tried again later)")
    #expect(error?.pluginCode == 11)
    #expect(fake.commands() == ["ADD one", "ADD two", "DEL two", "DEL one"])
    #expect(await !network.holds(Self.id(1)))
    #expect(try Directory(path: "\(directory.path)/ns").list().isEmpty)

    fake.state.withLock { $0.failing["ADD two"] = (3, "segmentation fault") }
    let other = await #expect(throws: CNIError.self) { try await network.attach(Self.id(1), CNIAttachment()) }
    #expect(other?.detail == "ended with status 3 and said: segmentation fault")
    fake.state.withLock {
      $0.failing = [:]
      $0.hanging = ["ADD two"]
    }
    let late = await #expect(throws: CNIError.self) { try await network.attach(Self.id(1), CNIAttachment()) }
    #expect(late?.code == .timedOut && late?.detail == "did not end within 60 s and was killed")
  }

  @Test func `A DEL that fails is tried again, and the pod is not forgotten`() async throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    let fake = FakePlugins()
    let network = try Self.network(directory, fake)
    _ = try await network.start(known: [])
    _ = try await network.attach(Self.id(1), CNIAttachment())
    fake.state.withLock { $0.failing["DEL one"] = (1, "") }
    await #expect(throws: CNIError.self) { try await network.detach(Self.id(1)) }
    #expect(await network.holds(Self.id(1)))
    // Also the next daemon goes on trying, and serves meanwhile.
    let again = try Self.network(directory, fake)
    #expect(try await again.start(known: []).removed == [])
    fake.state.withLock { $0.failing = [:] }
    try await again.detach(Self.id(1))
    #expect(await !again.holds(Self.id(1)))
  }

  @Test func `Readiness follows the directory and the plugins`() async throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    let fake = FakePlugins()
    let network = try Self.network(directory, fake, configured: false)
    _ = try await network.start(known: [])
    #expect(await network.problem()?.hasPrefix("cni plugin not initialized: no configuration in ") == true)
    await #expect(throws: CNIError.self) { try await network.attach(Self.id(1), CNIAttachment()) }
    try Files.writeAtomically("\(directory.path)/net.d/05-broken.conflist", Array("{".utf8))
    await network.reload()
    #expect(await network.problem()?.contains("05-broken.conflist") == true)
    try Self.configure(directory, "10-a.conflist", "1.1.0")
    await network.reload()
    #expect(await network.problem() == nil)
    #expect(fake.commands(["STATUS"]) == ["STATUS one", "STATUS two"])
    // An answer is good for a while.
    #expect(await network.problem() == nil)
    #expect(fake.commands(["STATUS"]).count == 2)
    fake.state.withLock { $0.versions = ["1.0.0"] }
    try Self.configure(directory, "10-a.conflist", "1.1.0", ["one"])
    await network.reload()
    #expect(await network.problem()?.contains("05-broken") == true)
    try Files.remove("\(directory.path)/net.d/05-broken.conflist")
    await network.reload()
    #expect(await network.problem()?.contains("it speaks 1.0.0, not 1.1.0") == true)
  }

  @Test func `A plugin that is missing is named with where it was looked for`() async throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    let network = try Self.network(directory, FakePlugins(), configured: false)
    try Self.configure(directory, "10-a.conflist", "1.0.0", ["absent"])
    _ = try await network.start(known: [])
    #expect(
      await network.problem()?.contains("plugin absent: no such program in /nowhere, \(directory.path)/bin") == true)
  }

  @Test func `A file that appears is taken without being told, also where the directory did not exist`() async throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    let network = try Self.network(directory, FakePlugins(), configured: false)
    try Files.removeTree("\(directory.path)/net.d")
    _ = try await network.start(known: [])
    let service = Task { await network.run() }
    defer { service.cancel() }
    try Files.makeDirectories("\(directory.path)/net.d")
    try Self.configure(directory, "10-a.conflist", "1.0.0")
    let deadline = SystemClock.bootNanoseconds + 10_000_000_000
    while await network.problem() != nil, SystemClock.bootNanoseconds < deadline { await Task.yield() }
    #expect(await network.problem() == nil)
    service.cancel()
    await service.value
  }

  @Test func `Not more plugins run at one time than the bound says`() async throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    let fake = FakePlugins()
    let network = try Self.network(directory, fake)
    _ = try await network.start(known: [])
    try await withThrowingTaskGroup { group in
      for number in 1...40 { group.addTask { _ = try await network.attach(Self.id(number), CNIAttachment()) } }
      try await group.waitForAll()
    }
    #expect(fake.state.withLock { $0.runningMost } <= CNIBounds.pluginsAtOnce)
    #expect(fake.commands(["ADD"]).count == 80)
    for number in 1...40 { try await network.detach(Self.id(number)) }
  }

  @Test func `A damaged record is set aside and stops nothing`() async throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    let network = try Self.network(directory, FakePlugins())
    try Files.makeDirectories("\(directory.path)/records")
    try Files.writeAtomically("\(directory.path)/records/\(Self.id(1)).json", Array("{\"version\": 1".utf8))
    let recovery = try await network.start(known: [Self.id(1)])
    #expect(recovery.lost[Self.id(1)]?.hasPrefix("its record is damaged") == true)
    #expect(Files.exists("\(directory.path)/records/\(Self.id(1)).json.damaged"))
  }
}
