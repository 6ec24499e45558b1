/// The options of one mount, sorted into what the kernel's calls take.
struct MountOptions {
  var isBind = false
  var isRecursiveBind = false
  var set: MountAttributes = []
  var clear: MountAttributes = []
  /// For the mounts below too ("rro" and so on).
  var recursiveSet: MountAttributes = []
  var recursiveClear: MountAttributes = []
  var propagation: PlanOperation.Propagation?
  var isPropagationRecursive = false
  /// Ids as the pod's user namespace maps them.
  var isIDMapped = false
  var isMapRecursive = false
  /// Of the file system itself, in order; a nil value is a flag.
  var data: [(key: String, value: String?)] = []

  private static let attributes: [String: (set: MountAttributes, clear: MountAttributes)] = [
    "ro": (.readOnly, []), "rw": ([], .readOnly),
    "nosuid": (.noSetUserID, []), "suid": ([], .noSetUserID),
    "nodev": (.noDevices, []), "dev": ([], .noDevices),
    "noexec": (.noExecute, []), "exec": ([], .noExecute),
    "noatime": (.noAccessTime, .accessTimeMask), "atime": ([], .accessTimeMask),
    "relatime": ([], .accessTimeMask), "norelatime": (.strictAccessTime, .accessTimeMask),
    "strictatime": (.strictAccessTime, .accessTimeMask), "nostrictatime": ([], .accessTimeMask),
    "nodiratime": (.noDirectoryAccessTime, []), "diratime": ([], .noDirectoryAccessTime),
    "nosymfollow": (.noSymbolicLinks, []), "symfollow": ([], .noSymbolicLinks),
  ]

  private static let superblockFlags: Set<String> = [
    "sync", "async", "dirsync", "lazytime", "nolazytime", "mand", "nomand",
  ]

  /// - Parameter field: where the options stand, for messages.
  init(_ options: [String], field: String) throws(PlanError) {
    for option in options {
      if takeAttribute(option) || takePropagation(option) { continue }
      switch option {
      case "defaults", "": continue
      case "bind": isBind = true
      case "rbind":
        isBind = true
        isRecursiveBind = true
      case "idmap", "ridmap":
        isIDMapped = true
        isMapRecursive = option == "ridmap"
      case "tmpcopyup", "remount":
        throw PlanError(field, "mount option \(option) is not supported")
      case _ where Self.superblockFlags.contains(option): data.append((option, nil))
      default:
        let parts = option.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        guard !parts[0].isEmpty, !option.utf8.contains(0) else {
          throw PlanError(field, "\"\(option)\" is not a mount option")
        }
        data.append((String(parts[0]), parts.count == 2 ? String(parts[1]) : nil))
      }
    }
  }

  private mutating func takeAttribute(_ option: String) -> Bool {
    if let change = Self.attributes[option] {
      clear = clear.union(change.clear).subtracting(change.set)
      set = set.subtracting(change.clear).union(change.set)
      return true
    }
    guard option.hasPrefix("r"), let change = Self.attributes[String(option.dropFirst())] else { return false }
    recursiveClear = recursiveClear.union(change.clear).subtracting(change.set)
    recursiveSet = recursiveSet.subtracting(change.clear).union(change.set)
    return true
  }

  private mutating func takePropagation(_ option: String) -> Bool {
    if let plain = PlanOperation.Propagation(rawValue: option) {
      propagation = plain
      isPropagationRecursive = false
      return true
    }
    guard option.hasPrefix("r"), let all = PlanOperation.Propagation(rawValue: String(option.dropFirst())) else {
      return false
    }
    propagation = all
    isPropagationRecursive = true
    return true
  }
}
