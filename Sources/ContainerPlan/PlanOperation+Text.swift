extension PlanOperation: CustomStringConvertible {
  /// The operation as a phrase, for golden files and for the message when it fails.
  package var description: String {
    switch self {
    case .startSession: "start a session"
    case .copyTree(_, let path, let isRecursive, let isNullDevice):
      "copy the mount at \(path)" + (isRecursive ? " and those below" : "") + (isNullDevice ? " (the null device)" : "")
    case .openFileSystem(let slot, let type): "open \(type) for \(slot.name)"
    case .setOption(let slot, let key, let value): "set \(key)=\(value) of \(slot.name)"
    case .setFlag(let slot, let key): "set \(key) of \(slot.name)"
    case .makeMount(let slot, let attributes):
      "make the mount \(slot.name)" + (attributes.isEmpty ? "" : " (\(attributes.names))")
    case .setAttributes(let slot, let set, let clear, let propagation, let isRecursive):
      "make \(slot.name)" + (set.isEmpty ? "" : " \(set.names)") + (clear.isEmpty ? "" : " not \(clear.names)")
        + (propagation.map { " \($0.rawValue)" } ?? "") + (isRecursive ? ", and what is below" : "")
    case .enterNamespaces(let namespaces): "enter new namespaces: \(namespaces.names)"
    case .attachRoot: "attach the root"
    case .attach(let slot, let path, let within, let missing, let refusesLinks):
      "mount \(slot.name) on \(path)" + place(within)
        + missing.phrase
        + (refusesLinks ? ", through no link" : "")
    case .makeDirectory(let root, let path, let mode): "make directory \(path) in \(root.name), mode \(octal(mode))"
    case .makeNode(let root, let path, let mode, let major, let minor, let uid, let gid):
      "make node \(path) in \(root.name), mode \(octal(mode)), device \(major):\(minor), owner \(uid):\(gid)"
    case .makeLink(let root, let path, let target): "make link \(path) to \(target) in \(root.name)"
    case .mask(let path, let within): "mask \(path)" + place(within)
    case .makeReadOnly(let path, let within): "make \(path)" + place(within) + " read-only"
    case .enterRoot: "enter the root"
    case .mapIDs(let slot, let isRecursive):
      "map ids of \(slot.name)" + (isRecursive ? ", and what is below" : "") + ", as the pod's user namespace"
    case .setLayer(let slot, let key, let layer): "set \(key) of \(slot.name) to the mount \(layer.name)"
    case .takePart(let slot, let path): "take \(path) of \(slot.name)"
    case .setHostname(let name): "set hostname \(name)"
    case .setDomainName(let name): "set domain name \(name)"
    case .setSysctl(let path, let value): "set \(path) to \(value)"
    default: processDescription
    }
  }

  private var processDescription: String {
    switch self {
    case .setResourceLimit(let name, _, let soft, let hard): "limit \(name) to \(soft), \(hard)"
    case .setGroups(let groups): "set groups \(groups.map(String.init).joined(separator: ","))"
    case .setIDs(let uid, let gid, let keeps): "become user \(uid):\(gid)" + (keeps ? ", keeping capabilities" : "")
    case .limitCapabilities(let mask): "bound capabilities to \(hexadecimal(mask))"
    case .setCapabilities(let effective, let permitted, let ambient):
      "set capabilities: effective \(hexadecimal(effective)), permitted \(hexadecimal(permitted)), "
        + (ambient == 0 ? "no inheritable" : "ambient \(hexadecimal(ambient))")
    case .setLabel(.apparmor, let label): "run under the AppArmor profile \(label)"
    case .setLabel(.selinux, let label): "run with the SELinux label \(label)"
    case .enterUserNamespace: "enter the pod's user namespace"
    case .forbidNewPrivileges: "forbid new privileges"
    case .filterSystemCalls(let program, let flags):
      "filter system calls, \(program.count / 8) instructions" + (flags == 0 ? "" : ", flags \(flags)")
    case .changeDirectory(let path): "change directory to \(path)"
    case .setUmask(let mask): "set umask \(octal(mask))"
    case .ownStdio(let uid, let gid): "give standard input and output to \(uid):\(gid)"
    case .openTerminal(_, let dev, let rows, let columns, let uid):
      "open a terminal, \(rows) rows, \(columns) columns, owner \(uid)" + (dev == nil ? "" : ", on /dev/console")
    case .setOutOfMemoryScore(let score): "set oom_score_adj \(score)"
    case .join(let namespaces): "join the container's namespaces: \(namespaces.names)"
    case .closeDescriptors: "close descriptors"
    case .waitForStart: "wait for the start"
    case .execute(let candidates, let arguments, let environment):
      "execute \(arguments)" + (candidates == [arguments.first] ? "" : " as the first of \(candidates)")
        + " with \(environment)"
    default: "operation"
    }
  }

  /// Short enough for a message: an execute without its environment.
  package var subject: String {
    if case .execute(_, let arguments, _) = self { return "execute \(arguments.first ?? "")" }
    return description
  }

  /// What to do about it, for failures whose cause is known.
  package func hint(errno: Int32) -> String {
    switch (self, errno) {
    case (.attach(_, let path, _, _, true), 40): "\(path) or a directory above it is a symbolic link in the image"
    case (.attach(_, let path, _, _, _), 20):
      "\(path) is a file where a directory is mounted, or a directory where a file is"
    case (.attach, 2): "there is no such path in the image, and it could not be made"
    case (.copyTree(_, let path, _, _), 2): "the host has no \(path)"
    case (.copyTree(_, _, _, true), 19): "/dev/null of the host is not the null device"
    case (.makeMount(let slot, _), 22) where slot.name == "root":
      "the writable layer was mounted before and cannot be again, or its file system has no overlay on it"
    case (.openFileSystem(_, let type), 19): "the kernel has no file system \(type)"
    case (.mapIDs(let slot, _), 22):
      "the file system of \(slot.name) cannot be mounted with mapped ids; use another one, or a pod without a user "
        + "namespace"
    case (.mapIDs, 1): "it is mapped already, or its file system belongs to another user namespace"
    case (.setLayer, 22): "layers with mapped ids need Linux 6.15"
    case (.takePart(let slot, let path), 2): "there is no \(path) in \(slot.name)"
    case (.setLabel(.apparmor, let label), 2): "no AppArmor profile \(label) is loaded"
    case (.setLabel(_, let label), _): "the kernel does not take \(label)"
    case (.openTerminal, 19), (.openTerminal, 2): "the container has no devpts on /dev/pts"
    case (.execute, 2): "there is no such file in the container, or its interpreter or loader is missing"
    case (.execute, 13): "it is not executable, or a directory"
    case (.execute, 8): "it is neither a program of this machine's kind nor a script with #!"
    case (.changeDirectory, 2): "the working directory is not in the container"
    case (.changeDirectory, 18): "the working directory is outside of the container"
    case (.setSysctl, 2): "this kernel has no such sysctl, or it is not namespaced"
    case (.setHostname, 1): "needs a UTS namespace of its own"
    case (.setCapabilities, 1), (.limitCapabilities, 1): "martletd itself lacks a capability"
    case (.join, 3): "the container has just ended"
    default: ""
    }
  }
}

private func place(_ slot: PlanOperation.Slot?) -> String { slot.map { " of \($0.name)" } ?? "" }

extension PlanOperation.Missing {
  fileprivate var phrase: String {
    switch self {
    case .isError: ""
    case .makeDirectory: ", making the directory"
    case .makeFile: ", making the file"
    case .makeSame: ", making what it is"
    }
  }
}

private func octal(_ number: UInt32) -> String { "0" + String(number, radix: 8) }
private func hexadecimal(_ number: UInt64) -> String { "0x" + String(number, radix: 16) }
