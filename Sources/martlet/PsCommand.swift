import ArgumentParser
import CRIClient
import CRIModel
import JSON
import Kernel

/// `martlet ps`: pods and their containers.
struct PsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ps",
    abstract: "List pods and the containers in them.",
    discussion: """
      EXAMPLES
        martlet ps                    what runs now
        martlet ps -a                 also what has ended
        martlet ps -o json            everything, for programs
        martlet ps -q | xargs martlet inspect
      """)

  @Flag(name: [.short, .long], help: "Also pods that are not ready and containers that do not run.")
  var all = false

  @Flag(name: [.short, .long], help: "Only container ids, one a line.")
  var quiet = false

  @Option(name: [.short, .long], help: "Only pods of this namespace.")
  var namespace: String?

  @OptionGroup var outputOptions: OutputOptions
  @OptionGroup var connection: ConnectionOptions

  func run() async throws {
    let inventory = try await connection.withClient { client in
      var inventory = try await Inventory.load(client).filtered(all: all, namespace: namespace)
      if !quiet { try await inventory.addDetails(client) }
      return inventory
    }
    if quiet {
      for container in inventory.containers { try Console.line(container.id) }
      return
    }
    let format = outputOptions.format()
    if format != .table { return try Console.value(inventory.json, as: format) }
    let width = Terminal.isTerminal(.output) ? Terminal.size(of: .output).map { Int($0.columns) } : nil
    let table = inventory.table(nowNanoseconds: SystemClock.wallNanoseconds)
    try Console.out(table.text(Style(enabled: outputOptions.styled(.output)), width: width))
    if inventory.pods.isEmpty, !all { Console.note("nothing runs here (martlet ps -a shows what has ended)") }
  }
}

extension Inventory {
  /// Calls in flight at once while details are asked for.
  private static var detailCallsMax: Int { 16 }

  /// Without `all`, ready pods and running containers only.
  func filtered(all: Bool, namespace: String?) -> Inventory {
    let pods = pods.filter { (all || $0.ready) && (namespace == nil || $0.namespace == namespace) }
      .sorted { ($0.path, $0.createdNanoseconds) < ($1.path, $1.createdNanoseconds) }
    let ids = Set(pods.map(\.id))
    let shown = containers.filter { ids.contains($0.podID) && (all || $0.state == .running) }
    return Inventory(pods: pods, containers: pods.flatMap { pod in shown.filter { $0.podID == pod.id } })
  }

  /// Asks for what lists do not tell: pods' addresses and how containers exited. What has gone meanwhile is left out.
  mutating func addDetails(_ client: CRIClient) async throws {
    let addresses = try await details(of: pods.map(\.id)) { id in
      let network = try await client.podSandboxStatus(id).status.network
      return [network.ip] + network.additionalIps.map(\.ip)
    }
    for index in pods.indices { pods[index].addresses = (addresses[pods[index].id] ?? []).filter { !$0.isEmpty } }
    let exits = try await details(of: containers.filter { $0.state == .exited }.map(\.id)) { id in
      let status = try await client.containerStatus(id).status
      return Exit(code: status.exitCode, reason: status.reason, finishedNanoseconds: status.finishedAt)
    }
    for index in containers.indices { containers[index].exit = exits[containers[index].id] }
  }

  private func details<Detail: Sendable>(
    of ids: [String], _ ask: @Sendable @escaping (String) async throws -> Detail
  ) async throws -> [String: Detail] {
    try await withThrowingTaskGroup(of: (String, Detail?).self) { group in
      var found: [String: Detail] = [:]
      var waiting = ids[...]
      func start() {
        guard let id = waiting.popFirst() else { return }
        group.addTask {
          do {
            return (id, try await ask(id))
          } catch let error as CRIError where error.code == .notFound {
            return (id, nil)
          }
        }
      }
      for _ in 0..<Self.detailCallsMax { start() }
      while let (id, detail) = try await group.next() {
        found[id] = detail
        start()
      }
      return found
    }
  }

  /// One line for each pod, its containers below it.
  func table(nowNanoseconds now: Int64) -> Table {
    var table = Table(["POD/CONTAINER", "ID", "STATE", "RESTARTS", "AGE", "ADDRESS/IMAGE"])
    for pod in pods {
      table.rows.append([
        Table.Cell(pod.path), Table.Cell(Units.shortID(pod.id)),
        pod.ready ? Table.Cell("Ready", .good) : Table.Cell("NotReady", .faint), "",
        Table.Cell(Units.age(nanoseconds: now - pod.createdNanoseconds)),
        Table.Cell(pod.addresses.joined(separator: ",")),
      ])
      for container in containers(of: pod) {
        table.rows.append([
          Table.Cell("  \(container.name)"), Table.Cell(Units.shortID(container.id)), container.stateCell(now: now),
          Table.Cell("\(container.attempt)"), Table.Cell(Units.age(nanoseconds: now - container.createdNanoseconds)),
          Table.Cell(container.image),
        ])
      }
    }
    return table
  }

  var json: JSONValue {
    .array(
      pods.map { pod in
        var value: JSONObject = [
          "id": .string(pod.id), "namespace": .string(pod.namespace), "name": .string(pod.name),
          "uid": .string(pod.uid), "attempt": .integer(Int64(pod.attempt)),
          "state": pod.ready ? "ready" : "notReady",
          "createdAt": .string(Timestamp.text(nanoseconds: pod.createdNanoseconds)),
          "addresses": JSONValue(pod.addresses), "labels": JSONValue(pod.labels),
        ]
        value["containers"] = .array(containers(of: pod).map(\.json))
        return .object(value)
      })
  }
}

extension Inventory.Container {
  func stateCell(now: Int64) -> Table.Cell {
    switch state {
    case .running: return Table.Cell("Running", .good)
    case .created: return Table.Cell("Created", .waiting)
    case .unknown: return Table.Cell("Unknown", .bad)
    case .exited:
      guard let exit else { return Table.Cell("Exited", .faint) }
      // "Completed" and "Error" repeat what the code says; OOMKilled does not.
      let reason = exit.reason.isEmpty || ["Completed", "Error"].contains(exit.reason) ? "Exited" : exit.reason
      let text = "\(reason)(\(exit.code)) \(Units.age(nanoseconds: now - exit.finishedNanoseconds)) ago"
      return Table.Cell(text, exit.code == 0 ? .faint : .bad)
    }
  }

  var json: JSONValue {
    var value: JSONObject = [
      "id": .string(id), "name": .string(name), "attempt": .integer(Int64(attempt)), "image": .string(image),
      "state": .string(state.rawValue), "createdAt": .string(Timestamp.text(nanoseconds: createdNanoseconds)),
      "labels": JSONValue(labels),
    ]
    if let exit {
      value["exitCode"] = .integer(Int64(exit.code))
      value["reason"] = .string(exit.reason)
      value["finishedAt"] = .string(Timestamp.text(nanoseconds: exit.finishedNanoseconds))
    }
    return .object(value)
  }
}
