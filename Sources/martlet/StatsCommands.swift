import ArgumentParser
import CRIClient
import CRIModel
import Kernel

/// `martlet stats`: what containers use, once.
struct StatsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "stats",
    abstract: "Show what containers use, once.",
    discussion: """
      CPU is of one processor, over half a second: 200% is two processors. MEMORY is the working set.

      EXAMPLES
        martlet stats               all running containers
        martlet stats web -o json   those of pod web
      """)

  @Argument(help: "Containers or pods; all where none is named.")
  var targets: [String] = []

  @OptionGroup var outputOptions: OutputOptions
  @OptionGroup var connection: ConnectionOptions

  private static let window: Duration = .milliseconds(500)

  func run() async throws {
    let figures = try await connection.withClient { client in
      let inventory = try await Inventory.load(client)
      let ids = try Self.ids(of: targets, in: inventory)
      let before = try await Figures.Sample.take(client)
      try await Task.sleep(for: Self.window)
      let sample = try await Figures.Sample.take(client)
      return Figures(sample, before: before, inventory: inventory, only: ids).sorted(by: .name)
    }
    let format = outputOptions.format()
    if format != .table { return try Console.value(figures.json, as: format) }
    try Console.out(figures.table.text(Style(enabled: outputOptions.styled(.output))))
  }

  private static func ids(of targets: [String], in inventory: Inventory) throws -> Set<String>? {
    if targets.isEmpty { return nil }
    var ids: Set<String> = []
    for target in targets {
      switch try inventory.find(target) {
      case .pod(let pod): ids.formUnion(inventory.containers(of: pod).map(\.id))
      case .container(let container): ids.insert(container.id)
      }
    }
    return ids
  }
}

/// `martlet top`: what containers use, live.
struct TopCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "top",
    abstract: "Watch what containers use.",
    discussion: """
      Keys: c sorts by processor, m by memory, n by name, q leaves. Needs a terminal; martlet stats does not.

      EXAMPLES
        martlet top
        martlet top --interval 5
      """)

  @Option(help: ArgumentHelp("Between two looks.", valueName: "seconds"))
  var interval: Int = 2

  @OptionGroup var outputOptions: OutputOptions
  @OptionGroup var connection: ConnectionOptions

  func validate() throws {
    if !(1...3600).contains(interval) { throw ValidationError("--interval takes 1 to 3600 seconds") }
  }

  private enum Event: Sendable { case key(UInt8), tick }

  func run() async throws {
    guard Terminal.isTerminal(.input), Terminal.isTerminal(.output) else {
      throw Failure("top needs a terminal", hint: "for one look: martlet stats", code: Failure.usageCode)
    }
    try await connection.withClient { client in
      let inventory = try await Inventory.load(client)
      let sample = try await Figures.Sample.take(client)
      try Terminal.enter(.keys)
      try Screen.enter()
      defer {
        Interruption.windowChanged(nil)
        Screen.leave()
        Terminal.restore()
      }
      try await watch(client, inventory, sample)
    }
  }

  private func watch(_ client: CRIClient, _ first: Inventory, _ start: Figures.Sample) async throws {
    let (events, feed) = AsyncStream.makeStream(of: Event.self, bufferingPolicy: .bufferingNewest(64))
    let reader = try InterruptibleReader(.input)
    Interruption.windowChanged { feed.yield(.tick) }
    let every = Duration.seconds(interval)
    try await withThrowingTaskGroup(of: Void.self) { group in
      defer { group.cancelAll() }
      group.addTask {
        while case let keys = try await reader.read(upTo: 16), !keys.isEmpty {
          for key in keys { feed.yield(.key(key)) }
        }
        feed.finish()
      }
      group.addTask {
        while !Task.isCancelled {
          try await Task.sleep(for: every)
          feed.yield(.tick)
        }
      }
      try await show(events, client, first, start)
    }
  }

  private func show(
    _ events: AsyncStream<Event>, _ client: CRIClient, _ first: Inventory, _ start: Figures.Sample
  ) async throws {
    var order = Figures.Order.processors
    var figures = Figures(start, before: nil, inventory: first)
    var before = start
    try draw(figures.sorted(by: order), pods: first.pods.count)
    var pods = first.pods.count
    for await event in events {
      switch event {
      case .key(UInt8(ascii: "q")), .key(3), .key(4): return
      case .key(UInt8(ascii: "c")): order = .processors
      case .key(UInt8(ascii: "m")): order = .memory
      case .key(UInt8(ascii: "n")): order = .name
      case .key: continue
      case .tick:
        let inventory = try await Inventory.load(client)
        let sample = try await Figures.Sample.take(client)
        figures = Figures(sample, before: before, inventory: inventory)
        pods = inventory.pods.count
        before = sample
      }
      try draw(figures.sorted(by: order), pods: pods)
    }
  }

  /// Draws over what is there, so that nothing flickers.
  private func draw(_ figures: Figures, pods: Int) throws {
    let size = Terminal.size(of: .output) ?? (columns: 80, rows: 24)
    let style = Style(enabled: outputOptions.styled(.output))
    let title = "\(pods) pods, \(figures.rows.count) containers    q leaves, c m n sort"
    let lines =
      [style.dim(title.clipped(to: Int(size.columns)))]
      + figures.table.text(style, width: Int(size.columns)).split(separator: "\n").map(String.init)
    let shown = lines.prefix(Int(size.rows)).joined(separator: "\u{1b}[K\r\n")
    try Console.out("\u{1b}[H\(shown)\u{1b}[K\u{1b}[J")
  }
}
