package main

import (
	"fmt"
	"strings"
)

// remembered are the properties an installation keeps in HKLM\SOFTWARE\digime-sync.
var remembered = []string{"CONFIGURL", "CONFIGKEY", "APPID", "PROXY", "CACERT", "STARTSERVICE", "INSTALLDIR", "DATADIR"}

// Sequence numbers, between those wixl gives (AppSearch 50, LaunchConditions 100,
// InstallInitialize 1500, InstallServices 5800, StartServices 5900).
const (
	seqSave      = 30
	seqJudge     = 45 // its answer is read by AppSearch
	seqRestore   = 60
	seqForget    = 105
	seqCheck     = 110
	seqRemoveOld = 1501
	seqPurge     = 3400 // when nothing runs any more (DeleteServices 2000), and before RemoveFiles 3500
	seqConfigure = 5750 // with the files (4000) and the registry (5000) there, before InstallServices
	seqRecovery  = 5850
)

// properties has the remembered properties give way to those of the command
// line: AppSearch overwrites these, so they are saved before and put back after.
// https://learn.microsoft.com/windows/win32/msi/appsearch-action
func properties() []string {
	const setProperty = 51 + 256 // and once, if both sequences run
	var list []string
	for i, p := range remembered {
		list = append(list,
			action("Save"+p, setProperty, "GIVEN_"+p, "["+p+"]"),
			action("Restore"+p, setProperty, p, "[GIVEN_"+p+"]"))
		for _, table := range []string{"InstallExecuteSequence", "InstallUISequence"} {
			list = append(list,
				step(table, "Save"+p, p, seqSave+i),
				step(table, "Restore"+p, "GIVEN_"+p, seqRestore+i))
		}
	}
	secure := append([]string{"WIX_DOWNGRADE_DETECTED", "WIX_UPGRADE_DETECTED", "ENROLLTOKENFILE", "PURGEDATA", "REFUSED"}, remembered...)
	return append(list, "UPDATE `Property` SET `Value` = '"+strings.Join(secure, ";")+"' WHERE `Property` = 'SecureCustomProperties'")
}

// judge has the program of this package look at the properties before anything
// is changed, since what fails later fails where an upgrade has removed the old
// version already. Nothing but an exit code comes back from a program, so it
// leaves its sentence in the registry, where AppSearch finds it, and is run again
// to take it away. The bars are since a backslash at a value's end would be read
// as one before a quote.
func judge() []string {
	const (
		fromBinary = 2
		ignored    = 64 // its exit code
		once       = 256
	)
	command := "judge"
	for _, p := range append([]string{"ENROLLTOKENFILE"}, remembered...) {
		command += ` "` + p + "=[" + p + `]|"`
	}
	list := []string{action("Judge", fromBinary+once, "Judge", command), action("ForgetRefusal", fromBinary+ignored+once, "Judge", "judge")}
	for _, table := range []string{"InstallExecuteSequence", "InstallUISequence"} {
		list = append(list, step(table, "Judge", "NOT REMOVE", seqJudge), step(table, "ForgetRefusal", "REFUSED", seqForget))
	}
	return list
}

// checks refuses wrong properties, in words, before anything is changed.
func checks() []string {
	var list []string
	const showError = 19
	for i, c := range []struct{ name, condition, message string }{
		{"StartService", `STARTSERVICE AND STARTSERVICE<>"0" AND STARTSERVICE<>"1"`,
			"STARTSERVICE=[STARTSERVICE] means nothing: write STARTSERVICE=1, or 0 to have the service start with the next start of Windows."},
		{"PurgeData", `PURGEDATA AND PURGEDATA<>"0" AND PURGEDATA<>"1"`,
			"PURGEDATA=[PURGEDATA] means nothing: write PURGEDATA=1 to remove configuration, consents and state too."},
		{"ConfigURL", `NOT REMOVE AND CONFIGURL AND NOT (CONFIGURL ~<< "https://" OR CONFIGURL << "\\" OR CONFIGURL >< ":\")`,
			"CONFIGURL=[CONFIGURL] is no place of a fleet configuration: write https://HOST/FOLDER/ or \\\\SERVER\\SHARE\\FOLDER."},
		{"ConfigKey", `NOT REMOVE AND CONFIGURL AND NOT CONFIGKEY`,
			"CONFIGURL needs CONFIGKEY: the public key that digime-sync fleet keygen showed."},
		{"Proxy", `NOT REMOVE AND PROXY AND NOT (PROXY ~<< "http://" OR PROXY ~<< "https://" OR PROXY ~<< "socks5://")`,
			"PROXY=[PROXY] is no proxy: write http://HOST:PORT."},
		{"CACert", `NOT REMOVE AND CACERT AND NOT (CACERT << "\\" OR CACERT >< ":\")`,
			"CACERT=[CACERT] is no full path of a file."},
		{"EnrolFile", `NOT REMOVE AND ENROLLTOKENFILE AND NOT (ENROLLTOKENFILE << "\\" OR ENROLLTOKENFILE >< ":\")`,
			"ENROLLTOKENFILE=[ENROLLTOKENFILE] is no full path of a file: write C:\\FOLDER\\FILE or \\\\SERVER\\SHARE\\FILE."},
		{"WhatWasJudged", "NOT REMOVE AND REFUSED", "[REFUSED]"},
	} {
		list = append(list, action("Refuse"+c.name, showError, "", c.message),
			step("InstallExecuteSequence", "Refuse"+c.name, c.condition, seqCheck+i))
	}
	return list
}

// serviceSID is that of NT SERVICE\digime-sync, which there is before the
// service is: S-1-5-80 and the SHA-1 of the name in capitals, UTF-16.
const serviceSID = "S-1-5-80-3880984399-4224153909-3063967482-1456502325-2997008171"

// service says what wixl has no words for: recovery (after 1, 5 and 30 s, also
// when it ended with an error), delayed start, a SID of its own, and who may
// touch the data. As in cmd/digime-sync/service_windows.go.
// https://learn.microsoft.com/windows/win32/msi/msiserviceconfig-table
func service() []string {
	config := func(key string, what int) string {
		return fmt.Sprintf("INSERT INTO `MsiServiceConfig` (`MsiServiceConfig`, `Name`, `Event`, `ConfigType`, `Argument`, `Component_`)"+
			" VALUES ('%s', 'digime-sync', 1, %d, '1', 'Program')", key, what)
	}
	return []string{
		"CREATE TABLE `MsiServiceConfig` (`MsiServiceConfig` CHAR(72) NOT NULL, `Name` CHAR(255) NOT NULL LOCALIZABLE, `Event` SHORT NOT NULL," +
			" `ConfigType` LONG NOT NULL, `Argument` CHAR(0), `Component_` CHAR(72) NOT NULL PRIMARY KEY `MsiServiceConfig`)",
		config("DelayedStart", 3), config("RestartOnError", 4), config("OwnSID", 5),
		"CREATE TABLE `MsiServiceConfigFailureActions` (`MsiServiceConfigFailureActions` CHAR(72) NOT NULL, `Name` CHAR(255) NOT NULL LOCALIZABLE," +
			" `Event` SHORT NOT NULL, `ResetPeriod` LONG, `RebootMessage` CHAR(255) LOCALIZABLE, `Command` CHAR(255) LOCALIZABLE," +
			" `Actions` CHAR(0), `DelayActions` CHAR(0), `Component_` CHAR(72) NOT NULL PRIMARY KEY `MsiServiceConfigFailureActions`)",
		"INSERT INTO `MsiServiceConfigFailureActions` (`MsiServiceConfigFailureActions`, `Name`, `Event`, `ResetPeriod`, `Actions`, `DelayActions`, `Component_`)" +
			" VALUES ('Recovery', 'digime-sync', 1, 3600, '1[~]1[~]1', '1000[~]5000[~]30000', 'Program')",
		step("InstallExecuteSequence", "MsiConfigureServices", "VersionMsi >= \"5.00\"", seqRecovery),
		"CREATE TABLE `MsiLockPermissionsEx` (`MsiLockPermissionsEx` CHAR(72) NOT NULL, `LockObject` CHAR(72) NOT NULL, `Table` CHAR(32) NOT NULL," +
			" `SDDLText` CHAR(0) NOT NULL, `Condition` CHAR(255) PRIMARY KEY `MsiLockPermissionsEx`)",
		"INSERT INTO `MsiLockPermissionsEx` (`MsiLockPermissionsEx`, `LockObject`, `Table`, `SDDLText`) VALUES ('Data', 'DATADIR', 'CreateFolder'," +
			" 'D:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FA;;;" + serviceSID + ")')",
	}
}

// layout mends what wixl writes: an upgrade is one transaction, the program's
// file has its version, the data folder is left when the program goes, and the
// service is started unless that is not wanted. And when our actions come: of
// those wixl is given Before or After for, it puts some before all files are there,
// each time otherwise.
func layout(version string) []string {
	const permanent, wide, registryKeyPath = 16, 256, 4
	return []string{
		fmt.Sprintf("UPDATE `InstallExecuteSequence` SET `Sequence` = %d WHERE `Action` = 'RemoveExistingProducts'", seqRemoveOld),
		step("InstallExecuteSequence", "Purge", `REMOVE="ALL" AND PURGEDATA="1" AND NOT UPGRADINGPRODUCTCODE`, seqPurge),
		step("InstallExecuteSequence", "Configure", "NOT REMOVE", seqConfigure),
		"UPDATE `InstallExecuteSequence` SET `Condition` = 'VersionNT AND STARTSERVICE<>\"0\"' WHERE `Action` = 'StartServices'",
		fmt.Sprintf("UPDATE `Component` SET `Attributes` = %d WHERE `Component` = 'Data'", permanent+wide+registryKeyPath),
		"UPDATE `File` SET `Version` = '" + version + ".0', `Language` = '1033' WHERE `File` = 'Exe'",
		"DELETE FROM `MsiFileHash` WHERE `File_` = 'Exe'", // of a file with a version there is none
	}
}

func action(name string, kind int, source, target string) string {
	return fmt.Sprintf("INSERT INTO `CustomAction` (`Action`, `Type`, `Source`, `Target`) VALUES ('%s', %d, '%s', '%s')", name, kind, source, target)
}

func step(table, name, condition string, sequence int) string {
	return fmt.Sprintf("INSERT INTO `%s` (`Action`, `Condition`, `Sequence`) VALUES ('%s', '%s', %d)", table, name, condition, sequence)
}
