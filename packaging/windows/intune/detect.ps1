# Intune win32 app: custom detection script. Run it as 64-bit (setting "Run script
# as 32-bit process on 64-bit clients": No). Output and exit code 0 mean: installed.
$wanted = [version]'0.0.0'  # the least version that counts
$key = 'HKLM:\SOFTWARE\digime-sync'
$found = (Get-ItemProperty -Path $key -Name Version -ErrorAction SilentlyContinue).Version
if (-not $found -or [version]$found -lt $wanted) { exit 1 }
if (-not (Get-Service -Name 'digime-sync' -ErrorAction SilentlyContinue)) { exit 1 }
Write-Output "digime-sync $found"
exit 0
