import ArgumentParser
import JSON
import Kernel
import KubeModel
import NodeAgent
import YAML

/// `martlet play`: a manifest into the node agent's directory, and out of it.
struct PlayCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "play",
    abstract: "Run what a manifest says and wait until it is ready.",
    discussion: """
      Checks the manifest, puts it into the directory that `martlet node` watches, and shows what its pods wait for.
      Playing a changed manifest again replaces the pods that changed. Pods keep running when this command ends.

      EXAMPLES
        martlet play app.yaml
        martlet play app.yaml --timeout 30
        martlet play app.yaml --down         stop it and wait until all of it is gone
      """)

  @Argument(help: "Manifests: YAML or JSON, several documents to a file.", completion: .file())
  var files: [String]

  @Flag(help: "Take the manifest away, and wait until everything of it is gone.")
  var down = false

  @Option(help: ArgumentHelp("Give up waiting after so long; 0 does not wait.", valueName: "seconds"))
  var timeout: Double = 300

  @Option(help: ArgumentHelp("The node agent's run directory.", valueName: "directory"))
  var run: String?

  @OptionGroup var outputOptions: OutputOptions

  func run() async throws {
    let place = NodePlace(runDirectory: run ?? LeadingOptions.given.run ?? "/run/martlet")
    guard let node = place.running() else {
      throw Failure(
        "no node agent runs with \(place.directory)",
        hint: "start it with: sudo martlet node    (elsewhere? martlet --run DIRECTORY play …)",
        code: Failure.unreachableCode)
    }
    var plays: [Play] = []
    for file in files { plays.append(try play(file, node)) }
    guard Set(plays.map(\.name)).count == plays.count else { throw Failure("two manifests have one file name") }
    for play in plays { try down ? play.remove() : play.put() }
    if timeout <= 0 { return }
    let display = PlayDisplay(styled: outputOptions.styled(.errors))
    defer { display.end() }
    let deadline = SystemClock.bootNanoseconds + Int64(timeout * 1_000_000_000)
    while true {
      let status = PlayStatus(file: place.statusFile)
      let states = plays.map { play in down ? status.leaving(play) : status.coming(play) }
      display.show(states.flatMap(\.lines))
      if let failed = states.first(where: { $0.failure != nil }), let failure = failed.failure {
        throw Failure(failure, hint: "see: martlet ps -a, martlet logs POD; take it down: martlet play FILE --down")
      }
      if states.allSatisfy(\.isDone) { break }
      if SystemClock.bootNanoseconds > deadline {
        let waiting = states.filter { !$0.isDone }.flatMap(\.lines).map { "  \($0.text)" }.joined(separator: "\n")
        throw Failure(
          "not \(down ? "gone" : "ready") after \(Int(timeout)) s:\n\(waiting)",
          hint: down
            ? "the node agent goes on trying; its log says why"
            : "the node agent goes on trying; take it down with: martlet play --down \(files.joined(separator: " "))")
      }
      try await Task.sleep(for: Self.pollPause)
    }
    display.end()
    if !down { try report(PlayStatus(file: place.statusFile), plays) }
  }

  /// Between two looks at the status file.
  private static let pollPause = Duration.milliseconds(50)

  private func play(_ file: String, _ node: (manifests: String, nodeName: String, podSuffix: String)) throws -> Play {
    let name = Files.name(of: file)
    guard ManifestDirectory.isManifest(name) else {
      throw Failure("\(file): the name of a manifest ends in .yaml, .yml or .json and begins with no dot")
    }
    let target = "\(node.manifests)/\(name)"
    // What goes away is what was put there, whatever the file says by now.
    let source = down ? target : file
    let bytes: [UInt8]
    do throws(SyscallError) {
      bytes = try Files.read(source, maxBytes: YAMLLimits().fileBytesMax)
    } catch {
      if down, error.errno == Errno.noEntry { return Play(name: name, path: target, bytes: [], set: ManifestSet()) }
      throw error
    }
    let set = ManifestSet(files: [name: bytes], nodeName: node.nodeName, suffix: node.podSuffix)
    guard down || set.errors.isEmpty else {
      throw Failure(
        set.errors.map(\.description).joined(separator: "\n       "), hint: "nothing was changed; mend the manifest")
    }
    return Play(name: name, path: target, bytes: bytes, set: set)
  }

  private func report(_ status: PlayStatus, _ plays: [Play]) throws {
    let format = outputOptions.format()
    if format != .table { return try Console.value(status.report(plays), as: format) }
    let style = Style(enabled: outputOptions.styled(.output))
    var pods = Table(["POD", "STATUS", "READY", "ADDRESS"])
    for pod in plays.flatMap(status.pods) {
      pods.rows.append([
        Table.Cell(pod.name), Table.Cell(pod.phase, pod.isReady ? .good : .plain),
        Table.Cell("\(pod.readyContainers)/\(pod.containers)"), Table.Cell(pod.addresses.joined(separator: ",")),
      ])
    }
    if !pods.rows.isEmpty { try Console.out(pods.text(style)) }
    var services = Table(["SERVICE", "ADDRESS", "PORTS", "ENDPOINTS"])
    for service in plays.flatMap(status.services) {
      services.rows.append([
        Table.Cell(service.name), Table.Cell(service.addresses.joined(separator: ",")),
        Table.Cell(service.ports.joined(separator: ",")), Table.Cell("\(service.endpoints)"),
      ])
    }
    if !services.rows.isEmpty { try Console.out((pods.rows.isEmpty ? "" : "\n") + services.text(style)) }
  }
}

/// One manifest that is played.
struct Play {
  var name: String
  /// Where it is for the node agent.
  var path: String
  var bytes: [UInt8]
  var set: ManifestSet

  var fingerprint: String { StaticPod.fingerprint(bytes) }
  var podKeys: Set<String> { Set(set.pods.map(\.key)) }
  var serviceKeys: Set<String> { Set(set.services.map(\.key)) }

  func put() throws(SyscallError) {
    if let there = try? Files.read(path), there == bytes { return }
    try Files.writeAtomically(path, bytes, mode: 0o600)
  }

  func remove() throws(SyscallError) { try Files.remove(path) }
}

/// Lines about what is waited for: on a terminal drawn over each other, else each when it is new.
final class PlayDisplay {
  private let redraws: Bool
  private let style: Style
  private var drawn = 0
  private var said: Set<String> = []

  init(styled: Bool) {
    redraws = Terminal.isTerminal(.errors) && environmentVariable("TERM") != "dumb"
    style = Style(enabled: styled)
  }

  func show(_ lines: [PlayStatus.Line]) {
    guard redraws else {
      for line in lines where said.insert(line.text).inserted { Console.note(line.text) }
      return
    }
    let width = Terminal.size(of: .errors).map { Int($0.columns) } ?? 80
    var text = drawn > 0 ? "\u{1b}[\(drawn)A\u{1b}[J" : ""
    for line in lines {
      let clipped = line.text.clipped(to: max(20, width - 3))
      text += (line.isDone ? style.green("✔") : style.yellow("…")) + " \(clipped)\n"
    }
    drawn = lines.count
    try? StandardStream.write(Array(text.utf8), to: .errors)
  }

  /// Lets the last lines stand.
  func end() { drawn = 0 }
}

/// The node agent's status as `play` looks at it.
struct PlayStatus {
  struct Line: Equatable {
    var text: String
    var isDone: Bool
  }
  struct State {
    var isDone: Bool
    var failure: String?
    var lines: [Line]
  }
  struct PodLine {
    var name: String
    var phase: String
    var isReady: Bool
    var readyContainers: Int
    var containers: Int
    var addresses: [String]
    /// What it waits for, an entry for the pod and each container; empty when it is ready.
    var waits: [String]
    var waiting: String { waits.joined(separator: ", ") }
  }
  struct ServiceLine {
    var name: String
    var addresses: [String]
    var ports: [String]
    var endpoints: Int
    var problem: String
  }
  private let value: JSONValue

  init(file: String) {
    // Read between two writes, or before the first: nothing is known yet.
    value = (try? JSONValue.parse((try? Files.read(file, maxBytes: 64 << 20)) ?? [])) ?? .null
  }

  private static func key(_ object: JSONValue) -> String {
    "\(object["namespace"]?.string ?? "")/\(object["name"]?.string ?? "")"
  }

  private func podValues(_ play: Play) -> [JSONValue] {
    (value["pods"]?.array ?? []).filter { pod in
      pod["manifest"]?["file"]?.string == play.name || (pod["manifest"] == nil && play.podKeys.contains(Self.key(pod)))
    }
  }

  func pods(_ play: Play) -> [PodLine] { podValues(play).map(Self.line) }

  private static func line(_ pod: JSONValue) -> PodLine {
    let status = pod["status"]
    let containers = status?["containerStatuses"]?.array ?? []
    let inits = status?["initContainerStatuses"]?.array ?? []
    var waits: [String] = []
    for container in inits + containers where container["ready"]?.bool != true {
      let state = container["state"]
      var why = "starting"
      if let waiting = state?["waiting"] {
        why = [waiting["reason"]?.string, waiting["message"]?.string].compactMap { $0 }.joined(separator: ": ")
      } else if let ended = state?["terminated"] {
        why = "\(ended["reason"]?.string ?? "ended") (\(ended["exitCode"]?.integer ?? 0))"
      } else if state?["running"] != nil {
        why =
          pod["terminating"]?.bool == true
          ? "stopping" : container["started"]?.bool == true ? "not ready yet" : "running"
      }
      waits.append("\(container["name"]?.string ?? ""): \(why)")
    }
    if let message = status?["message"]?.string { waits.insert(message, at: 0) }
    if pod["terminating"]?.bool == true { waits.insert("terminating", at: 0) }
    return PodLine(
      name: key(pod), phase: status?["phase"]?.string ?? "Pending", isReady: pod["ready"]?.bool == true,
      readyContainers: containers.count { $0["ready"]?.bool == true }, containers: containers.count,
      addresses: (status?["podIPs"]?.array ?? []).compactMap { $0["ip"]?.string }, waits: waits)
  }

  func services(_ play: Play) -> [ServiceLine] {
    (value["services"]?.array ?? []).filter { play.serviceKeys.contains(Self.key($0)) }.map { service in
      let ports = service["ports"]?.array ?? []
      return ServiceLine(
        name: Self.key(service), addresses: (service["clusterIPs"]?.array ?? []).compactMap(\.string),
        ports: ports.map { "\($0["port"]?.integer ?? 0)/\($0["protocol"]?.string ?? "TCP")" },
        endpoints: ports.map(Self.endpoints).max() ?? 0,
        problem: service["problem"]?.string ?? "")
    }
  }

  /// Pods behind a port; one with an address of each family counts once.
  private static func endpoints(_ port: JSONValue) -> Int {
    let all = port["endpoints"]?.array ?? []
    let six = all.count { $0.string?.hasPrefix("[") == true }
    return max(six, all.count - six)
  }

  /// How far a manifest is on its way up.
  func coming(_ play: Play) -> State {
    if let problem = value["runtimeProblem"]?.string {
      return State(isDone: false, failure: nil, lines: [Line(text: "the container runtime: \(problem)", isDone: false)])
    }
    guard value["manifests"]?[play.name]?.string == play.fingerprint else {
      return State(isDone: false, failure: nil, lines: [Line(text: "\(play.name): not read yet", isDone: false)])
    }
    let errors = (value["errors"]?.array ?? []).filter { $0["file"]?.string == play.name }.map { error in
      let words = [error["object"]?.string, error["field"]?.string, error["problem"]?.string].compactMap { $0 }
      return "\(play.name), document \(error["document"]?.integer ?? 0): "
        + words.filter { !$0.isEmpty }.joined(separator: ": ")
    }
    if !errors.isEmpty { return State(isDone: false, failure: errors.joined(separator: "\n       "), lines: []) }
    let wanted = Set(play.set.pods.compactMap { $0.object.metadata.uid })
    let values = podValues(play)
    let there = values.filter { wanted.contains($0["uid"]?.string ?? "") }
    let old = values.filter { !wanted.contains($0["uid"]?.string ?? "") }
    var lines = there.map(Self.line).flatMap { pod -> [Line] in
      if pod.phase == "Succeeded" || pod.isReady {
        return [Line(text: "pod \(pod.name): \(pod.isReady ? "ready" : "succeeded")", isDone: true)]
      }
      let waits = pod.waits.isEmpty ? [pod.phase.lowercased()] : pod.waits
      return waits.map { Line(text: "pod \(pod.name): \($0)", isDone: false) }
    }
    lines += old.map(Self.line).map {
      Line(text: "pod \($0.name): the one before is going: \($0.waiting)", isDone: false)
    }
    if there.count < wanted.count, old.isEmpty {
      lines.append(Line(text: "pods: \(there.count) of \(wanted.count) begun", isDone: false))
    }
    let services = services(play)
    if let broken = services.first(where: { !$0.problem.isEmpty }) {
      return State(isDone: false, failure: "service \(broken.name): \(broken.problem)", lines: lines)
    }
    if let failed = there.map(Self.line).first(where: { $0.phase == "Failed" }) {
      return State(isDone: false, failure: "pod \(failed.name) failed: \(failed.waiting)", lines: lines)
    }
    let missing = play.serviceKeys.subtracting(services.map(\.name))
    lines += missing.sorted().map { Line(text: "service \($0): waiting", isDone: false) }
    lines += services.compactMap { Self.incomplete($0, play) }
    return State(isDone: lines.allSatisfy(\.isDone) && there.count == wanted.count, failure: nil, lines: lines)
  }

  /// Pods are ready a moment before the kernel leads to them.
  private static func incomplete(_ service: ServiceLine, _ play: Play) -> Line? {
    guard let placed = play.set.services.first(where: { $0.key == service.name }), !service.ports.isEmpty else {
      return nil
    }
    let selector = placed.object.spec.selector
    let behind = play.set.pods.count { pod in
      pod.namespace == placed.namespace && pod.object.spec.restartPolicy == "Always" && !selector.isEmpty
        && LabelSelector.matches(pod.object.metadata.labels, equality: selector)
        && placed.object.spec.ports.contains { port in
          guard case .string(let name) = port.targetPort else { return true }
          return (pod.object.spec.containers + pod.object.spec.initContainers).contains { container in
            container.ports.contains { $0.name == name }
          }
        }
    }
    guard service.endpoints < behind else { return nil }
    return Line(text: "service \(service.name): \(service.endpoints) of \(behind) pods behind it", isDone: false)
  }

  /// How far a manifest is on its way out.
  func leaving(_ play: Play) -> State {
    guard value["manifests"] != nil, value["manifests"]?[play.name] == nil else {
      return State(isDone: false, failure: nil, lines: [Line(text: "\(play.name): still being read", isDone: false)])
    }
    var lines = podValues(play).map(Self.line).flatMap { pod in
      pod.waits.map { Line(text: "pod \(pod.name): \($0)", isDone: false) }
    }
    lines += services(play).map { Line(text: "service \($0.name): still there", isDone: false) }
    return State(isDone: lines.isEmpty, failure: nil, lines: lines)
  }

  /// What became of the manifests, for programs.
  func report(_ plays: [Play]) -> JSONValue {
    let keys = plays.reduce(into: Set<String>()) { $0.formUnion($1.serviceKeys) }
    return [
      "pods": .array(plays.flatMap(podValues)),
      "services": .array((value["services"]?.array ?? []).filter { keys.contains(Self.key($0)) }),
    ]
  }
}
