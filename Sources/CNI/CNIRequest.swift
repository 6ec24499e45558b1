internal import JSON

/// One run of one plugin: its environment and what it reads. CNI specification 1.1, sections 2 and 3. Pure.
struct CNIRequest: Hashable, Sendable {
  var command: CNICommand
  var plugin: String
  var environment: [String]
  var input: JSONObject

  /// What all plugins of one run of a list share.
  struct Context: Hashable, Sendable {
    var sandboxID: String
    /// Empty where the namespace is gone.
    var namespacePath: String
    var link = CNIRequest.podLink
    var arguments: String
    var runtimeConfig: JSONObject
    var pluginDirectories: [String]
    /// The daemon's own PATH, which plugins look for programs in.
    var searchPath: String
  }

  /// The pod's link, as Kubernetes has it everywhere.
  static let podLink = "eth0"

  /// - Parameter previous: the result that the plugin is handed.
  init(
    _ command: CNICommand, _ configuration: CNIConfiguration, plugin: CNIConfiguration.Plugin, _ context: Context,
    previous: JSONValue?
  ) {
    self.init(command, configuration, plugin, directories: context.pluginDirectories, searchPath: context.searchPath)
    environment += [
      "CNI_CONTAINERID=\(context.sandboxID)", "CNI_NETNS=\(context.namespacePath)", "CNI_IFNAME=\(context.link)",
      "CNI_ARGS=\(context.arguments)",
    ]
    var config = JSONObject()
    for (key, value) in context.runtimeConfig.members where plugin.capabilities.contains(key) { config[key] = value }
    if !config.isEmpty { input["runtimeConfig"] = .object(config) }
    if let previous { input["prevResult"] = previous }
  }

  /// A command that is about no pod.
  init(
    _ command: CNICommand, _ configuration: CNIConfiguration, _ plugin: CNIConfiguration.Plugin, directories: [String],
    searchPath: String
  ) {
    self.command = command
    self.plugin = plugin.type
    environment = [
      "CNI_COMMAND=\(command.rawValue)", "CNI_PATH=\(directories.joined(separator: ":"))", "PATH=\(searchPath)",
    ]
    input = plugin.document
    input["cniVersion"] = .string(configuration.version.rawValue)
    input["name"] = .string(configuration.name)
    input["capabilities"] = nil
    // Only the runtime sets these.
    input["runtimeConfig"] = nil
    input["prevResult"] = nil
  }

  /// For GC: attachments that are still there; all others of this network may go.
  mutating func keep(_ sandboxIDs: [String]) {
    let attachments = JSONValue.array(
      sandboxIDs.map { ["containerID": .string($0), "ifname": .string(Self.podLink)] })
    input["cni.dev/valid-attachments"] = attachments
    // The name that an earlier draft had, which plugins also read.
    input["cni.dev/attachments"] = attachments
  }
}
