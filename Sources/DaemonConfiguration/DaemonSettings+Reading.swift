internal import JSON
internal import TOML

extension DaemonSettings {
  /// Takes over what a file sets. A key that nobody knows is an error: it would be a wish that is not granted.
  /// - Parameter file: its path, for messages and `origins`.
  package mutating func merge(_ text: String, from file: String) throws(SettingsError) {
    let document: JSONObject
    do throws(TOMLError) { document = try TOML.parse(text) } catch {
      throw SettingsError(file: file, problem: error.description)
    }
    var top = TableReader(document, file: file, section: "")
    if let version = try top.integer("version", 1...Int.max), version != Self.version {
      throw SettingsError(
        file: file, problem: "version \(version) is not known; this daemon reads version \(Self.version)")
    }
    try top.path("root", &root)
    try top.path("run", &run)
    try top.path("socket", &socket, canBeEmpty: true)
    try top.path("shim", &shim, canBeEmpty: true)
    try top.word("missing-controllers", &missingControllers)
    try top.text("cgroup-parent", &cgroupParent)
    try top.word("cgroup-driver", &cgroupDriver)
    // The name that log.level once had.
    try top.word("log-level", &logLevel)
    if top.found.contains("log-level") { origins["log.level"] = file }
    try top.table("log") { log throws(SettingsError) in
      try log.word("level", &logLevel)
      try log.word("format", &logFormat)
    }
    try top.table("network") { network throws(SettingsError) in try readNetwork(&network) }
    try top.table("images") { images throws(SettingsError) in
      try images.bool("keep-blobs", &keepBlobs)
      try images.path("hosts-directory", &hostsDirectory)
      try images.path("docker-config", &dockerConfig)
      try images.integer("pulls-max", 1...1024, &pullsMax)
      try images.integer("unpack-threads-max", 0...256, &unpackThreadsMax)
      try images.texts("pinned", &pinned)
    }
    try top.table("streaming") { streaming throws(SettingsError) in
      try streaming.text("address", &streamingAddress)
      try streaming.integer("port", 0...65535, &streamingPort)
    }
    try top.table("metrics") { metrics throws(SettingsError) in
      try metrics.text("address", &metricsAddress)
      if !metricsAddress.isEmpty, metricsListener == nil {
        throw SettingsError(
          file: file, problem: "metrics.address: \"unix:PATH\", \"ADDRESS:PORT\", or \"\" for none")
      }
    }
    try top.finish()
    for key in top.found { origins[key] = file }
  }

  private mutating func readNetwork(_ network: inout TableReader) throws(SettingsError) {
    try network.word("mode", &networkMode)
    try network.texts("pod-cidrs", &podBlocks)
    try network.texts("cluster-cidrs", &clusterBlocks)
    try network.texts("service-cidrs", &serviceBlocks)
    try network.integer("mtu", 576...65535, &mtu)
    try network.integer("pool-size", 0...64, &poolSize)
    try network.bool("masquerade", &masquerade)
    try network.path("cni-config-directory", &cniConfigurationDirectory)
    try network.texts("cni-plugin-directories", &cniPluginDirectories)
    guard !cniPluginDirectories.isEmpty,
      cniPluginDirectories.allSatisfy({ $0.hasPrefix("/") && !$0.contains(":") })
    else {
      throw SettingsError(
        file: network.file, problem: "network.cni-plugin-directories: absolute paths without a colon, at least one")
    }
  }
}

/// Reads a table key by key and then refuses what nobody asked for.
struct TableReader {
  let file: String
  private let table: JSONObject
  private let section: String
  private var known: Set<String> = []
  /// Keys that are set, with their sections.
  private(set) var found: Set<String> = []

  init(_ table: JSONObject, file: String, section: String) {
    self.table = table
    self.file = file
    self.section = section
  }

  private func problem(_ key: String, _ text: String) -> SettingsError {
    SettingsError(file: file, problem: "\(section)\(key): \(text)")
  }

  private mutating func value(_ key: String) -> JSONValue? {
    known.insert(key)
    guard let value = table[key] else { return nil }
    found.insert(section + key)
    return value
  }

  private func text(_ value: JSONValue, _ key: String) throws(SettingsError) -> String {
    guard let text = value.string else { throw problem(key, "must be a string") }
    guard text.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7f }) else {
      throw problem(key, "must be without control characters")
    }
    return text
  }

  mutating func text(_ key: String, _ setting: inout String) throws(SettingsError) {
    if let value = value(key) { setting = try text(value, key) }
  }

  mutating func path(_ key: String, _ setting: inout String, canBeEmpty: Bool = false) throws(SettingsError) {
    guard let value = value(key) else { return }
    let path = try text(value, key)
    guard path.hasPrefix("/") || (canBeEmpty && path.isEmpty) else { throw problem(key, "must be an absolute path") }
    setting = path
  }

  mutating func word<Choice: CaseIterable & RawRepresentable<String>>(
    _ key: String, _ setting: inout Choice
  ) throws(SettingsError) {
    guard let value = value(key) else { return }
    guard let choice = value.string.flatMap({ Choice(rawValue: $0) }) else {
      throw problem(key, Choice.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: " or "))
    }
    setting = choice
  }

  mutating func integer(_ key: String, _ range: ClosedRange<Int>) throws(SettingsError) -> Int? {
    guard let value = value(key) else { return nil }
    guard case .integer(let number) = value, let number = Int(exactly: number), range.contains(number) else {
      throw problem(key, "must be an integer from \(range.lowerBound) to \(range.upperBound)")
    }
    return number
  }

  mutating func integer(_ key: String, _ range: ClosedRange<Int>, _ setting: inout Int) throws(SettingsError) {
    if let number = try integer(key, range) { setting = number }
  }

  mutating func bool(_ key: String, _ setting: inout Bool) throws(SettingsError) {
    guard let value = value(key) else { return }
    guard let choice = value.bool else { throw problem(key, "must be true or false") }
    setting = choice
  }

  mutating func texts(_ key: String, _ setting: inout [String]) throws(SettingsError) {
    guard let value = value(key) else { return }
    guard let array = value.array else { throw problem(key, "must be a list of strings") }
    var all: [String] = []
    for element in array {
      guard element.string != nil else { throw problem(key, "must be a list of strings") }
      all.append(try text(element, key))
    }
    setting = all
  }

  mutating func table(
    _ key: String, _ body: (inout TableReader) throws(SettingsError) -> Void
  ) throws(SettingsError) {
    known.insert(key)
    guard let value = table[key] else { return }
    guard let inner = value.object else { throw problem(key, "must be a table") }
    var reader = TableReader(inner, file: file, section: "\(section)\(key).")
    try body(&reader)
    try reader.finish()
    found.formUnion(reader.found)
  }

  func finish() throws(SettingsError) {
    for key in table.keys.sorted() where !known.contains(key) {
      throw problem(key, "is not a key that martletd knows; see martletd config default")
    }
  }
}
